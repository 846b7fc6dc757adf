"""Rewards on a running scale.

Engstrom et al. 2020, arXiv 2005.12729, for the practice in PPO. Differs from `quickstart`: shaping
of the reward.

  rljax train --config=presets/running_normalize
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_shaping.scale = dict(name='shaping.running_normalize')
  return config
