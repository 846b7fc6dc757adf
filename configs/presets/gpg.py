"""GPG: group mean, no clip, no reference, rescaled for groups that say nothing.

Chu et al. 2025, arXiv 2504.02546. Differs from `quickstart`: advantage, REINFORCE on-policy.

  rljax train --config=presets/gpg
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_on_policy')
  config.rl.advantage = dict(name='advantages.gpg')
  config.rl.loss = dict(name='losses.reinforce')
  return config
