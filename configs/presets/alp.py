"""ALP: length costs more where the group is mostly right.

Xiang et al. 2025, arXiv 2506.05256. β for lengths of a dozen. Differs from `quickstart`: shaping of
the reward.

  rljax train --config=presets/alp
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_shaping.length = dict(name='shaping.alp', beta=0.01)
  return config
