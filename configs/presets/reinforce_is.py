"""REINFORCE weighted by the ratio to the sampler, at most 2.

Public implementation: verl. Differs from the off-policy regime: loss.

  rljax train --config=presets/reinforce_is
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.truncated_reinforce')
  return config
