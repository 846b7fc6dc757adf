"""VAPO: λ by the length, clip-higher, likelihood of right answers beside.

Yue et al. 2025, arXiv 2504.05118. Differs from `ppo`. The paper has α = 0.05 for thousands of
tokens; on a dozen λ = 1 − 1/(αT) would be negative, so it is 0.5 here. Without the pre-training of
the critic.

  rljax train --config=presets/vapo
"""

import rljax


def get_config():
  config = rljax.load_config('ppo')
  config.rl.advantage = dict(name='advantages.gae', critic_lambda=1.0, length_alpha=0.5)
  config.rl.loss.clip_high = 0.28
  config.rl.auxiliary = dict(name='losses.positive_nll')
  config.rl.auxiliary_coef = 0.1
  return config
