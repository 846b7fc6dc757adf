"""TIS-PG: REINFORCE weighted by the ratio to the sampler, at most 1.

Public implementation: ROLL. Differs from the off-policy regime: loss.

  rljax train --config=presets/tis_pg
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.truncated_reinforce', max_ratio=1.0)
  return config
