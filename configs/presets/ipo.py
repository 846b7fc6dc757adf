"""IPO: the margin has a target.

Azar et al. 2023, arXiv 2310.12036. Differs from `preference`: loss.

  rljax train --config=presets/ipo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.ipo')
  return config
