"""ORPO: likelihood and odds, no reference.

Hong et al. 2024, arXiv 2403.07691. Differs from `preference`: loss.

  rljax train --config=presets/orpo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.orpo')
  return config
