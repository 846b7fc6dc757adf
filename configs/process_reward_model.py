"""A process reward model on two CPU cores: which letters of a sorted word stand in their place.

SFT as in `quickstart`; then its policy, with a new head, learns to judge each letter as a step
(Lightman et al. 2023, arXiv 2305.20050).

  rljax train --config=process_reward_model

What to expect, over three seeds: experiments/stages.
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.stages = ('sft', 'process_reward_model')
  config.process_reward_model.update(iterations=400, prompts=64, max_length=23)
  config.process_reward_model.update(rows=64, row_length=24, packed=False)
  config.process_reward_model.optimizer.learning_rate = 1e-3
  return config
