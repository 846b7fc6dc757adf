"""AOT for unpaired feedback.

Melnyk et al. 2024, arXiv 2406.05882. Differs from `preference`: loss. All samples of a step are
compared, so they stand in one micro-batch.

  rljax train --config=presets/aot_unpaired
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.aot_unpaired')
  return config
