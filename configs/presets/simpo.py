"""SimPO: mean log-probs with a margin, no reference.

Meng et al. 2024, arXiv 2405.14734. Differs from `preference`: loss.

  rljax train --config=presets/simpo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.simpo')
  return config
