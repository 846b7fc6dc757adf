"""Pass@k training with analytic advantages.

Chen et al. 2025, arXiv 2508.10751. Differs from `quickstart`: advantage.

  rljax train --config=presets/pass_at_k
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.pass_at_k', k=4)
  return config
