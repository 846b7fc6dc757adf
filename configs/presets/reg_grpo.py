"""Reg-GRPO: the advantage as the target of a regression.

Park et al. 2025, arXiv 2506.07464. Differs from the off-policy regime: loss of groups without an
advantage.

  rljax train --config=presets/reg_grpo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.reg_grpo')
  config.rl.weights = dict(name='weighting.group_mean')
  config.rl.advantage = None
  return config
