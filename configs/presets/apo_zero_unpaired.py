"""APO-zero for unpaired feedback.

D'Oosterlinck et al. 2024, arXiv 2408.06266. Differs from `preference`: loss, mean over samples.

  rljax train --config=presets/apo_zero_unpaired
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.apo_zero_unpaired')
  config.preference.update(labels='sign', weights=dict(name='weighting.sample_mean'))
  return config
