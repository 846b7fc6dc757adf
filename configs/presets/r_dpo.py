"""R-DPO: a penalty on length.

Park et al. 2024, arXiv 2403.19159. Differs from `preference`: loss.

  rljax train --config=presets/r_dpo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.r_dpo')
  return config
