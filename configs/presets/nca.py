"""NCA: absolute likelihoods beside relative ones.

Chen et al. 2024, arXiv 2402.05369. Differs from `preference`: loss.

  rljax train --config=presets/nca
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.nca')
  return config
