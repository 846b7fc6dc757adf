"""Sums and products in worked steps: what methods that look at reasoning are compared with.

Differs from `presets/grpo_on_policy`: the task, on which SFT stops when a third comes out right,
REINFORCE with the mean of the others as baseline, and sums over the tokens of a sample.

  rljax train --config=presets/worked_steps
"""

import rljax
from rljax.tasks.steps import ALPHABET


def get_config():
  config = rljax.load_config('presets/grpo_on_policy')
  config.task = dict(name='tasks.arithmetic')
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.update(max_length=44, stop_accuracy=0.33)
  config.rl.update(max_prompt=12, max_new_tokens=32)
  for stage in (config.sft, config.rl):
    stage.row_length = 44
  config.rl.advantage = dict(name='advantages.leave_one_out')
  config.rl.loss = dict(name='losses.reinforce')
  config.rl.weights = dict(name='weighting.seq_mean_token_sum')
  return config
