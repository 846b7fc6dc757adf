"""Kimi k1.5: shorter right answers of a group are paid more.

Kimi team 2025, arXiv 2501.12599. Differs from `quickstart`: shaping of the reward.

  rljax train --config=presets/kimi_length
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_shaping.length = dict(name='shaping.kimi_length', weight=0.2)
  return config
