"""Lite PPO: mean of the group, standard deviation of the batch, token mean.

Liu et al. 2025, arXiv 2508.08221; ScaleRL, arXiv 2510.13786, has the same advantage. Differs from
`quickstart`: scale of the advantage.

  rljax train --config=presets/lite_ppo
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.group_normalize', scale='batch')
  return config
