"""GDPO: each reward standardised in its group, then summed and whitened.

Liu et al. 2026, arXiv 2601.05242. Differs from `quickstart`: advantage; the rewards are right or
wrong, and the share of letters in place.

  rljax train --config=presets/gdpo
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_components = ('reward', 'similarity')
  config.rl.advantage = dict(name='advantages.multi_reward')
  return config
