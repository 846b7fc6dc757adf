"""DiscoPOP: a loss that a language model found.

Lu et al. 2024, arXiv 2406.08414. Differs from `preference`: loss.

  rljax train --config=presets/discopop
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.discopop')
  return config
