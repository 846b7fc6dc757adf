"""Skywork-OR1: an entropy bonus that acts below a target.

He et al. 2025, arXiv 2505.22312. Differs from `quickstart`: entropy_coef with a controller.

  rljax train --config=presets/adaptive_entropy
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.entropy_coef = 0.005
  config.rl.entropy_controller = dict(name='regularizers.adaptive_entropy')
  return config
