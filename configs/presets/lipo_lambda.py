"""LiPO-λ: a list of four, weighted by the gain of each exchange.

Liu et al. 2024, arXiv 2402.01878. Differs from `preference`: loss, four candidates.

  rljax train --config=presets/lipo_lambda
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.lipo_lambda')
  config.preference.candidates = 4
  return config
