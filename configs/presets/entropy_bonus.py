"""An entropy bonus.

Williams and Peng 1991. Differs from `quickstart`: entropy_coef.

  rljax train --config=presets/entropy_bonus
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.entropy_coef = 0.01
  return config
