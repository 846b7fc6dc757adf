"""RPO: DPO with a likelihood term.

Liu et al. 2024, arXiv 2405.16436. Differs from `preference`: loss.

  rljax train --config=presets/rpo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.rpo')
  return config
