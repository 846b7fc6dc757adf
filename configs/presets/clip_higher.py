"""The clip of DAPO alone: 0.2 below, 0.28 above.

Yu et al. 2025, arXiv 2503.14476. Differs from the off-policy regime: clip_high.

  rljax train --config=presets/clip_higher
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss.clip_high = 0.28
  return config
