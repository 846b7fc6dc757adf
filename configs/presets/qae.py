"""QAE: a quantile of the group in place of its mean.

Wu et al. 2025, arXiv 2509.22611. Differs from `quickstart`: advantage.

  rljax train --config=presets/qae
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.quantile_baseline')
  return config
