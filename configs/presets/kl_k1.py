"""k1 in the loss: a control, its expected gradient is nearly zero.

A default of several public systems. Differs from `quickstart`: kl, kl_coef.

  rljax train --config=presets/kl_k1
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.kl = dict(name='regularizers.k1_in_loss')
  config.rl.kl_coef = 0.05
  return config
