"""BCO: chosen and rejected as a classifier.

Jung et al. 2024, arXiv 2404.04656. Differs from `preference`: loss.

  rljax train --config=presets/bco_pair
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.bco_pair')
  return config
