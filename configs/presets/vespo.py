"""VESPO: a smooth weight of the sample's ratio.

Public implementation: TRL. Differs from the off-policy regime: loss, mean over sequences.

  rljax train --config=presets/vespo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.vespo')
  config.rl.weights = dict(name='weighting.seq_mean_token_mean')
  return config
