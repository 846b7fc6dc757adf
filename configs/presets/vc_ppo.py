"""VC-PPO: λ of the critic apart from λ of the policy.

Yuan et al. 2025, arXiv 2503.01491. Differs from `ppo`: λ = 0.95 for advantages, 1 for returns.
Without the pre-training of the critic.

  rljax train --config=presets/vc_ppo
"""

import rljax


def get_config():
  config = rljax.load_config('ppo')
  config.rl.advantage = dict(name='advantages.gae', gae_lambda=0.95, critic_lambda=1.0)
  return config
