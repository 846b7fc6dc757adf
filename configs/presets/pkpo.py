"""PKPO: the unbiased gradient of pass@4.

Walder and Karkhanis 2025, arXiv 2505.15201. Differs from `quickstart`: advantage.

  rljax train --config=presets/pkpo
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.pkpo', k=4)
  return config
