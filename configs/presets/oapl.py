"""OAPL: log-ratios regress the advantage under the optimal value of the group.

Recalled. Differs from the off-policy regime: loss of samples without an advantage; the KL
coefficient is that of a task of a dozen tokens.

  rljax train --config=presets/oapl
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.oapl', kl_coef=0.1)
  config.rl.weights = dict(name='weighting.sample_mean')
  config.rl.advantage = None
  return config
