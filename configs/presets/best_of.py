"""Max@G: only the best sample of a group counts, by its lead.

Walder and Karkhanis 2025, arXiv 2503.19595. Differs from `quickstart`: advantage.

  rljax train --config=presets/best_of
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.best_of')
  return config
