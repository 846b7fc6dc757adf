"""EXO: the reverse KL between preference distributions.

Ji et al. 2024, arXiv 2402.00856. Differs from `preference`: loss.

  rljax train --config=presets/exo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.exo')
  return config
