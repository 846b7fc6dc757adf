"""LD-DPO: what lies beyond the shorter answer counts less.

Liu et al. 2024, arXiv 2409.06411. Differs from `preference`: loss.

  rljax train --config=presets/ld_dpo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.ld_dpo')
  return config
