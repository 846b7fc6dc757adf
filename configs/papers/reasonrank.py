"""ReasonRank: a list is paid for by several views of its quality, and only if its form is right.

ReasonRank: Empowering Passage Ranking with Strong Reasoning Ability, 2025. SFT on reasoned lists,
then GRPO with NDCG@k + 0.1·Recall@k + 0.1·RBO with the right list; −1 without the tags, 0 if only
the tags are right. Differs from `reranking`: rewards. Adapted: short documents, k = 3 of 5 in place
of 10. Recalled: the formula. Expected: NDCG as with NDCG alone, a higher recall in the first
places, and malformed lists gone sooner.

  rljax train --config=papers/reasonrank
"""

import rljax

METHOD = dict(
  paper='ReasonRank: Empowering Passage Ranking with Strong Reasoning Ability (2025)',
  scope='ADAPT',
  stage='rewards',
  functions=(
    'rewards.gated',
    'rewards.weighted',
    'rewards.layout.tags_in_order',
    'rewards.documents.permutation',
    'rewards.matching.ranking',
  ),
  fidelity='adapted',
  baseline='reranking',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('reranking')
  shown = dict(tag='a', separator='>')
  of_list = dict(name='rewards.matching.ranking', **shown)
  views = dict(
    name='rewards.weighted',
    rewards=dict(
      ndcg=dict(of_list, metric='ndcg', k=3),
      recall=dict(of_list, metric='recall', k=3),
      overlap=dict(of_list, metric='rank_biased_overlap'),
    ),
    weights=dict(recall=0.1, overlap=0.1),
  )
  listed = dict(
    name='rewards.gated',
    reward=views,
    gate=dict(name='rewards.documents.permutation', **shown),
    closed=0.0,
  )
  config.rewards.reward = dict(
    name='rewards.gated',
    reward=listed,
    gate=dict(name='rewards.layout.tags_in_order', tags=('t', 'a')),
    closed=-1.0,
  )
  return config
