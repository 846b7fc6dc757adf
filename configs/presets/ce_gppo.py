"""CE-GPPO: the gradient of clipped tokens balanced for entropy.

Su et al. 2025, arXiv 2509.20712. Differs from the off-policy regime: loss.

  rljax train --config=presets/ce_gppo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(
    name='losses.bounded_gradient_clip', beta_low=0.5, beta_high=1.0
  )
  return config
