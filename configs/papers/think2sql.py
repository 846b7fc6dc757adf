"""Think2SQL: GRPO on what a query finds, by the cells and rows of its result.

Think2SQL: Reinforce LLM Reasoning Capabilities for Text2SQL, 2025. Execution accuracy is sparse;
precision and recall of cells and the number of rows grade what is partly right. Zero-shot RL, SFT
and both are compared by `--config.stages`. Differs from `quickstart`: task and reward. Adapted:
small questions about one random table, queries without reasoning before them, no reward for form.
Recalled: the graded terms and their weights. Execution accuracy alone:
`--config.rewards.reward.accuracy=1.0`. Expected: a reward that varies within more groups, and
higher accuracy from weak starts.

  rljax train --config=papers/think2sql
"""

import rljax

METHOD = dict(
  paper='Think2SQL: Reinforce LLM Reasoning Capabilities for Text2SQL (2025)',
  scope='RECIPE',
  stage='recipe',
  functions=('rewards.table_overlap.table_overlap',),
  fidelity='adapted',
  baseline='quickstart',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(name='tasks.table_questions')
  config.tokenizer = dict(name='tokenization.byte_level')
  config.rewards.reward = dict(name='rewards.table_overlap.table_overlap', accuracy=0.5)
  config.sft.max_length = 320
  config.rl.update(max_prompt=224, max_new_tokens=96)
  for stage in (config.sft, config.rl):
    stage.update(rows=16, row_length=320)
  return config
