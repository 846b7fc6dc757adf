"""GSPO-token: the ratio of the sample, a gradient for each token.

Zheng et al. 2025, arXiv 2507.18071. Differs from the off-policy regime: loss, mean over sequences.
The paper's bounds of 3e-4 and 4e-4 are for completions of thousands of tokens; on a dozen 0.03 and
0.04.

  rljax train --config=presets/gspo_token
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.gspo_token', clip_low=0.03, clip_high=0.04)
  config.rl.weights = dict(name='weighting.seq_mean_token_mean')
  return config
