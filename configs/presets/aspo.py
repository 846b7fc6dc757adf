"""ASPO: reciprocal ratios for good tokens.

Wang et al. 2025, arXiv 2510.06062. Differs from the off-policy regime: loss.

  rljax train --config=presets/aspo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.aspo')
  return config
