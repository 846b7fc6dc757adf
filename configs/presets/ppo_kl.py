"""PPO with a critic and a KL to the start in the reward, whose coefficient follows a target.

Ziegler et al. 2019, arXiv 1909.08593. Differs from `ppo`: the KL.

  rljax train --config=presets/ppo_kl
"""

import rljax


def get_config():
  config = rljax.load_config('ppo')
  config.rl.update(kl_coef=0.05, kl_placement='reward')
  config.rl.kl = dict(name='regularizers.kl_reward')
  config.rl.kl_controller = dict(
    name='regularizers.adaptive_kl', target=0.05, horizon=2560.0
  )
  return config
