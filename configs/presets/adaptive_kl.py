"""A KL whose coefficient follows a target.

Ziegler et al. 2019, arXiv 1909.08593. Differs from `quickstart`: kl_coef with a controller; a
horizon for 512 samples an iteration.

  rljax train --config=presets/adaptive_kl
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.kl_coef = 0.05
  config.rl.kl_controller = dict(
    name='regularizers.adaptive_kl', target=0.05, horizon=2560.0
  )
  return config
