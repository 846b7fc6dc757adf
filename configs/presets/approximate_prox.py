"""Decoupled PPO without the pass that computes the proximal policy.

Public implementation: AReaL. Differs from the off-policy regime: loss.

  rljax train --config=presets/approximate_prox
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.approximate_prox_surrogate')
  return config
