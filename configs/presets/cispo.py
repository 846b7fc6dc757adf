"""CISPO: the weight is clipped and not the update; every token keeps a gradient.

MiniMax 2025, arXiv 2506.13585; bounds of ScaleRL, arXiv 2510.13786. Differs from the off-policy
regime: loss.

  rljax train --config=presets/cispo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.cispo')
  return config
