"""REBEL: differences of log-ratios regress differences of rewards.

Gao et al. 2024, arXiv 2404.16767. Differs from the off-policy regime: loss of groups without an
advantage.

  rljax train --config=presets/rebel
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.rebel')
  config.rl.weights = dict(name='weighting.group_mean')
  config.rl.advantage = None
  return config
