"""PPO whose critic is trained with a Huber loss.

Public implementations: AReaL. Differs from `ppo`: value loss.

  rljax train --config=presets/ppo_huber
"""

import rljax


def get_config():
  config = rljax.load_config('ppo')
  config.rl.value = dict(name='losses.huber_value')
  return config
