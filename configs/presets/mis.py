"""MIS: samples on which trainer and sampler disagree are masked.

Liu et al. 2025, "When speed kills stability". Differs from the off-policy regime: correction.
Sampler and trainer are one program here, so what it corrects comes from staleness alone.

  rljax train --config=presets/mis
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.correction = dict(name='corrections.sequence_mask')
  return config
