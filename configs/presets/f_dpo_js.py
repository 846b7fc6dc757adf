"""f-DPO with the Jensen-Shannon divergence.

Wang et al. 2023, arXiv 2309.16240. Differs from `preference`: loss.

  rljax train --config=presets/f_dpo_js
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.dpo', f_divergence='js')
  return config
