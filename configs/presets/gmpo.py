"""GMPO: the geometric mean of ratios, clipped in log space.

Zhao et al. 2025, arXiv 2507.20673. Differs from the off-policy regime: loss, mean over sequences.

  rljax train --config=presets/gmpo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.gmpo')
  config.rl.weights = dict(name='weighting.seq_mean_token_mean')
  return config
