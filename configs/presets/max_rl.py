"""MaxRL: divided by the pass rate, so that hard prompts count more.

arXiv 2602.02710. Differs from `quickstart`: advantage.

  rljax train --config=presets/max_rl
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.max_rl')
  return config
