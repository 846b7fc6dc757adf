"""RPG: the policy gradient of a KL-regularised objective, off-policy.

Zhang et al. 2025, arXiv 2505.17508. Differs from the off-policy regime: loss.

  rljax train --config=presets/rpg
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.regularized_policy_gradient')
  return config
