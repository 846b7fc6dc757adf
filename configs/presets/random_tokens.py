"""A random fifth of the tokens: the control of `high_entropy`.

Control. Differs from the off-policy regime: selection.

  rljax train --config=presets/random_tokens
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.selections.drawn = dict(name='selection.random_tokens')
  return config
