"""SLiC: a hinge on the margin.

Zhao et al. 2023, arXiv 2305.10425. Differs from `preference`: loss.

  rljax train --config=presets/slic
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.slic')
  return config
