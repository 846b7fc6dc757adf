"""CPO: log-probs without a reference, and a likelihood.

Xu et al. 2024, arXiv 2401.08417. Differs from `preference`: loss.

  rljax train --config=presets/cpo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.cpo')
  return config
