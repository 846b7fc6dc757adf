"""LUSPO: GSPO without the length bias, each sample times its length.

Public implementation: TRL. GSPO-token with the sum over the tokens of a sample is the same. Bounds
of the source, 2e-3 and 2.5e-3, times ten for short completions.

  rljax train --config=presets/luspo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.gspo_token', clip_low=0.02, clip_high=0.025)
  config.rl.weights = dict(name='weighting.seq_mean_token_sum')
  return config
