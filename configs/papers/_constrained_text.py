"""GRPO on short texts under one or two constraints, all or nothing: a baseline of rubrics.

Differs from `quickstart`: the task, and the sizes that go with it.

  rljax train --config=papers/_constrained_text
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(
    name='tasks.constrained_text',
    min_constraints=2,
    max_constraints=3,
    size=2,
    kinds=('keywords', 'forbidden', 'keyword_count', 'no_digits', 'lower', 'no_commas'),
  )
  config.tokenizer = dict(name='tokenization.byte_level')
  config.sft.max_length = 384
  config.rl.update(max_prompt=256, max_new_tokens=128)
  for stage in (config.sft, config.rl):
    stage.update(rows=16, row_length=384)
  return config
