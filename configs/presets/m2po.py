"""M2PO: the tokens that have moved most are left out until the rest is near.

Zheng et al. 2025, arXiv 2510.01161. Differs from the off-policy regime: selection.

  rljax train --config=presets/m2po
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.selections.moved = dict(name='selection.m2po')
  return config
