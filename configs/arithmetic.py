"""Arithmetic in worked steps on two CPU cores: only the last result is paid for.

Expressions of three operands (`3+4*5=` is answered by `4*5=20,3+20=23`), after some demonstrations.

  rljax train --config=arithmetic
"""

import rljax
from rljax.tasks.steps import ALPHABET


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(name='tasks.arithmetic')
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.max_length = 40
  config.rl.update(max_prompt=12, max_new_tokens=28)
  for stage in (config.sft, config.rl):
    stage.row_length = 40
  return config
