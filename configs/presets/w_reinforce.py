"""W-REINFORCE: wrong answers push down, right ones pull up a tenth as much.

Zhu et al. 2025, arXiv 2506.01347. Differs from `quickstart`: advantage without a baseline.

  rljax train --config=presets/w_reinforce
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.signs', positive=0.1, negative=1.0)
  return config
