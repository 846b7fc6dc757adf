"""Rank-R1: a reranker reasons and then names the best document; the label alone is rewarded.

Rank-R1: Enhancing Reasoning in LLM-based Document Rerankers via Reinforcement Learning, 2025. GRPO
with 1 if form and choice are right, else 0, and nothing said about the reasons. Differs from
`quickstart`: task and reward. Adapted: items whose scattered scores must be added up stand for
documents and their relevance; the form, reasons and then a choice, is learnt from demonstrations.
Recalled: the setwise prompt and the reward. Expected: the right choice more often, by reasons that
nobody has checked.

  rljax train --config=papers/rank_r1
"""

import rljax
from rljax.tasks.ranking import ALPHABET

METHOD = dict(
  paper=(
    'Rank-R1: Enhancing Reasoning in LLM-based Document Rerankers via Reinforcement Learning '
    '(2025)'
  ),
  scope='RECIPE',
  stage='recipe',
  functions=('tasks.ranking', 'tasks.ranking.choice'),
  fidelity='adapted',
  baseline='quickstart',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(name='tasks.ranking', choose=True)
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.rewards.reward = dict(name='tasks.ranking.choice')
  config.sft.max_length = 56
  config.rl.update(max_prompt=32, max_new_tokens=24)
  for stage in (config.sft, config.rl):
    stage.row_length = 56
  return config
