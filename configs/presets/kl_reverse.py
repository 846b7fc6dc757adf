"""A token-local reverse KL to the reference: the default form.

Differs from `quickstart`: kl_coef.

  rljax train --config=presets/kl_reverse
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.kl_coef = 0.05
  return config
