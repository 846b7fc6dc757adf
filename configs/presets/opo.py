"""OPO: the baseline of least variance, the mean reward weighted by lengths.

Hao et al. 2025, arXiv 2505.23585. Differs from `quickstart`: advantage, strictly on-policy.

  rljax train --config=presets/opo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_on_policy')
  config.rl.advantage = dict(name='advantages.length_weighted_baseline')
  config.rl.loss = dict(name='losses.reinforce')
  return config
