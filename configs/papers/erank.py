"""ERank: one document a prompt, and its score is paid for by the ranking that it makes.

ERank: Fusing Supervised Fine-Tuning and Reinforcement Learning for Effective and Efficient Text
Reranking, 2025. SFT teaches integer scores; then the reward of a score is the NDCG of the query's
documents, the others at their mean scores of the batch. So it depends on samples of other prompts,
and those of a query are drawn together. Differs from `reranking`: a prompt for each document, which
come by whole queries, and the reward. Adapted: short documents. Recalled: the form of the reward.
Expected: scores that order documents well, also where they are not the exact relevance.

  rljax train --config=papers/erank
"""

import rljax

METHOD = dict(
  paper=(
    'ERank: Fusing Supervised Fine-Tuning and Reinforcement Learning for Effective and Efficient '
    'Text Reranking (2025)'
  ),
  scope='ADAPT',
  stage='rewards',
  functions=('rewards.documents.among_others', 'curriculum.sets'),
  fidelity='adapted',
  baseline='reranking',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('reranking')
  config.task.form = 'points'
  config.rewards.reward = dict(name='rewards.documents.among_others')
  config.rl.update(prompts=40, max_prompt=9, max_new_tokens=3)
  config.rl.curriculum = dict(name='curriculum.sets', size=5)
  config.sft.max_length = 12
  for stage in (config.sft, config.rl):
    stage.row_length = 12
  return config
