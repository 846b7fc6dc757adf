"""Truncated samples carry no policy loss.

Yu et al. 2025, arXiv 2503.14476. Differs from `quickstart`: selection.

  rljax train --config=presets/overlong_filter
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.selections.overlong = dict(name='selection.overlong_filter')
  return config
