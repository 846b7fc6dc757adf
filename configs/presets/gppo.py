"""GPPO: clipped tokens keep a bounded gradient.

Su et al. 2025, arXiv 2508.07629. Differs from the off-policy regime: loss.

  rljax train --config=presets/gppo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.bounded_gradient_clip')
  return config
