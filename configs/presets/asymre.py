"""AsymRE: REINFORCE off-policy with a baseline below the mean.

Arnal et al. 2025, arXiv 2506.20520. Differs from the off-policy regime: advantage, loss.

  rljax train --config=presets/asymre
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.advantage = dict(name='advantages.asymmetric_baseline')
  config.rl.loss = dict(name='losses.reinforce')
  return config
