"""A Jensen-Shannon divergence to the reference.

Wang et al. 2023, arXiv 2309.16240, for the family. Differs from `quickstart`: kl, kl_coef.

  rljax train --config=presets/kl_jensen_shannon
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.kl = dict(name='regularizers.f_divergence')
  config.rl.kl_coef = 0.05
  return config
