"""IcePop: tokens on which trainer and sampler disagree are masked.

Ling team 2025, arXiv 2510.18855. Differs from the off-policy regime: correction. Sampler and
trainer are one program here, so what it corrects comes from staleness alone.

  rljax train --config=presets/icepop
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.correction = dict(name='corrections.token_mask')
  return config
