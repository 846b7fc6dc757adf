"""Right answers that the policy found unlikely are paid more.

He et al. 2025, arXiv 2506.02355. Differs from `quickstart`: shaping of the reward.

  rljax train --config=presets/unlikeliness
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_shaping.unlikeliness = dict(name='shaping.unlikeliness')
  return config
