"""TIS: the policy loss weighted by trainer over sampler, truncated.

Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training". Differs
from the off-policy regime: correction. Sampler and trainer are one program here, so what it
corrects comes from staleness alone.

  rljax train --config=presets/tis
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.correction = dict(name='corrections.token_truncate')
  return config
