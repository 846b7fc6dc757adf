"""The plain importance-sampled gradient of Tinker: no clip, a sum.

Public implementation: Tinker. Differs from the off-policy regime: loss, sum over tokens (the clip
of the gradient norm sets the step).

  rljax train --config=presets/importance_sampling
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.importance_sampling')
  config.rl.weights = dict(name='weighting.token_sum')
  return config
