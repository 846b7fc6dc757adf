"""ProRL: truncated answers are paid nothing.

Liu et al. 2025, arXiv 2505.24864. Differs from `quickstart`: shaping of the reward.

  rljax train --config=presets/stop_properly
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_shaping.stop = dict(name='shaping.stop_properly')
  return config
