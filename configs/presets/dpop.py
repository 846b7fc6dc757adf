"""DPO-Positive: the chosen must not become less likely.

Pal et al. 2024, arXiv 2402.13228. Differs from `preference`: loss.

  rljax train --config=presets/dpop
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.dpop')
  return config
