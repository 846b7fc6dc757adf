"""TOPR: right answers by likelihood, wrong ones tapered by the ratio of the sample.

Le Roux et al. 2025, arXiv 2503.14286. Differs from the off-policy regime: loss; rewards of ±1 and
no baseline.

  rljax train --config=presets/topr
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.topr')
  config.rl.advantage = dict(name='advantages.signs', positive=1.0, negative=1.0)
  config.rl.weights = dict(name='weighting.seq_mean_token_mean')
  return config
