"""Kimi k1.5: the advantage of a sample against the square of its log-ratio.

Kimi team 2025, arXiv 2501.12599. Differs from the off-policy regime: loss, group mean as the
baseline, mean over sequences.

  rljax train --config=presets/opmd
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.opmd')
  config.rl.advantage = dict(name='advantages.group_normalize', scale='none')
  config.rl.weights = dict(name='weighting.seq_mean_token_mean')
  return config
