"""AlphaPO: SimPO with another shape of the reward.

Gupta et al. 2025, arXiv 2501.03884. Differs from `preference`: loss.

  rljax train --config=presets/alpha_po
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.alpha_po')
  return config
