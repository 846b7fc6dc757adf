"""PPO's dual clip: a bound for bad tokens that have become likely.

Ye et al. 2019, arXiv 1912.09729. Differs from the off-policy regime: dual_clip.

  rljax train --config=presets/dual_clip
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss.dual_clip = 3.0
  return config
