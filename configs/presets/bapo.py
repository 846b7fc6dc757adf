"""BAPO: bounds that keep a share of the gradient positive.

Xi et al. 2025, arXiv 2510.18927. Differs from the off-policy regime: loss, with bounds from before
the update.

  rljax train --config=presets/bapo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.bapo')
  for side in ('low', 'high'):
    config.rl.derived[f'ratio_{side}'] = dict(name='losses.balanced_bound', side=side)
  return config
