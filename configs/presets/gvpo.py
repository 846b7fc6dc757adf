"""GVPO: centred log-ratios regress centred rewards.

Zhang et al. 2025, arXiv 2504.19599. Differs from the off-policy regime: loss of groups without an
advantage.

  rljax train --config=presets/gvpo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.gvpo')
  config.rl.weights = dict(name='weighting.group_mean')
  config.rl.advantage = None
  return config
