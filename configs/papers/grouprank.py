"""GroupRank: a group of documents is scored in one prompt, and scores keep their scale.

GroupRank: A Groupwise Reranking Paradigm Driven by Reinforcement Learning, 2025. The reward is the
NDCG of the order that the scores induce, with how near their distribution is to that of the true
relevances, so that scores of different groups can be compared. Differs from `reranking`: scores in
place of a list, and the reward. Adapted: short documents. Recalled: both terms, their weights.
Expected: NDCG as with NDCG alone, and scores that are the relevances (component `ndcg.accuracy`).

  rljax train --config=papers/grouprank
"""

import rljax

METHOD = dict(
  paper=(
    'GroupRank: A Groupwise Reranking Paradigm Driven by Reinforcement Learning (2025)'
  ),
  scope='ADAPT',
  stage='rewards',
  functions=(
    'rewards.weighted',
    'rewards.documents.order_of_scores',
    'rewards.documents.score_distribution',
  ),
  fidelity='adapted',
  baseline='reranking',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('reranking')
  config.task.form = 'scores'
  config.rl.max_new_tokens = 12
  config.rewards.reward = dict(
    name='rewards.weighted',
    rewards=dict(
      ndcg=dict(name='rewards.documents.order_of_scores'),
      distribution=dict(name='rewards.documents.score_distribution', span=4.0),
    ),
    weights=dict(distribution=0.5),
  )
  return config
