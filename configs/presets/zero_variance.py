"""Groups of equal rewards are in no mean (ScaleRL).

Khatri et al. 2025, arXiv 2510.13786. Differs from `quickstart`: selection.

  rljax train --config=presets/zero_variance
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.selections.varied = dict(name='selection.zero_variance')
  return config
