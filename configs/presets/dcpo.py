"""DCPO: bounds that widen for improbable tokens.

Yang et al. 2025, arXiv 2509.02333. Differs from the off-policy regime: loss.

  rljax train --config=presets/dcpo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.dcpo')
  return config
