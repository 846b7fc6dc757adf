"""Calibrated importance sampling: tokens outside the band are dropped.

Public implementation: SkyRL. Differs from the off-policy regime: loss.

  rljax train --config=presets/calibrated_is
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.calibrated_importance')
  return config
