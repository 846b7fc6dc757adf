"""Decoupled PPO: the clip is around the trainer, the weight is to the sampler.

Hilton et al. 2021, arXiv 2110.00641; Fu et al. 2025, arXiv 2505.24298 (AReaL). Differs from the
off-policy regime: correction. Sampler and trainer are one program here, so what it corrects comes
from staleness alone.

  rljax train --config=presets/decoupled_ppo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.correction = dict(name='corrections.token_truncate', max_weight=5.0)
  return config
