"""Group mean of a reward from which a part for length is taken.

Public implementation: prime-rl. Differs from `quickstart`: advantage.

  rljax train --config=presets/length_penalized
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.length_penalized')
  return config
