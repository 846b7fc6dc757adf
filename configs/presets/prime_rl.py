"""The default of prime-rl: probability differences, and a small square of the log-ratio.

Public implementation: prime-rl. Differs from the off-policy regime: loss, group mean as the
baseline.

  rljax train --config=presets/prime_rl
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.prime_rl')
  config.rl.advantage = dict(name='advantages.group_normalize', scale='none')
  return config
