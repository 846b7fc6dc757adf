"""TRM: samples with a token outside the trust region are left out.

Li et al. 2025, arXiv 2512.23075. Differs from the off-policy regime: selection.

  rljax train --config=presets/trust_region_mask
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.selections.outside = dict(name='selection.trust_region_mask')
  return config
