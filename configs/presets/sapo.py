"""SAPO: a soft gate in place of the clip.

Public implementations: TRL, verl. Differs from the off-policy regime: loss, mean over sequences.

  rljax train --config=presets/sapo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.sapo')
  config.rl.weights = dict(name='weighting.seq_mean_token_mean')
  return config
