"""A reward model on two CPU cores: which of two sorted words has fewer mistakes.

SFT as in `quickstart`; then its policy, with a new head, learns the order of synthetic pairs
(Bradley and Terry 1952).

  rljax train --config=reward_model

What to expect, over three seeds: experiments/stages.
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.stages = ('sft', 'reward_model')
  config.reward_model.update(iterations=800, prompts=64, max_length=23)
  config.reward_model.update(rows=128, row_length=24, packed=False)
  config.reward_model.optimizer.learning_rate = 1e-3
  return config
