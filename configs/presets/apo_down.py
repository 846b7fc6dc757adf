"""APO-down: both down, the rejected further.

D'Oosterlinck et al. 2024, arXiv 2408.06266. Differs from `preference`: loss.

  rljax train --config=presets/apo_down
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.apo_down')
  return config
