"""Truncated weights of whole samples.

Public implementation: verl. Differs from the off-policy regime: correction. Sampler and trainer are
one program here, so what it corrects comes from staleness alone.

  rljax train --config=presets/sequence_tis
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.correction = dict(name='corrections.sequence_truncate')
  return config
