"""PPO with a critic: advantages by GAE.

Schulman et al. 2017, arXiv 1707.06347. The config `ppo` under the name of a preset.

  rljax train --config=presets/ppo
"""

import rljax


def get_config():
  config = rljax.load_config('ppo')
  return config
