"""Sums and products after SFT on what a solution can teach: its end, its gaps and its order.

Reinforcement is of right results alone: what self-supervision before it is compared with. Differs
from `quickstart`: the task, whose demonstrations are of three kinds, and a shorter run of SFT.

  rljax train --config=presets/solution_steps
"""

import rljax
from rljax.tasks.steps import ALPHABET


def get_config():
  config = rljax.load_config('quickstart')
  arithmetic = dict(name='tasks.arithmetic', num_operands=4)
  config.task = dict(name='tasks.self_supervised', task=arithmetic)
  config.tokenizer = dict(name='tokenization.characters', alphabet=f'{ALPHABET}?:;')
  config.sft.update(max_length=66, stop_accuracy=0.2)
  config.rl.update(max_prompt=48, max_new_tokens=34)
  for stage, length in ((config.sft, 66), (config.rl, 82)):
    stage.row_length = length
  config.rl.curriculum = dict(name='curriculum.domains', shares=dict(outcome=1.0), by='source')
  return config
