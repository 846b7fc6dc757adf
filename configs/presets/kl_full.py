"""The same KL summed over the vocabulary: no noise of the action.

Differs from `quickstart`: kl, kl_coef.

  rljax train --config=presets/kl_full
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.kl = dict(name='regularizers.full_reverse_kl')
  config.rl.kl_coef = 0.05
  return config
