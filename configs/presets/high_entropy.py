"""80/20: only the fifth of the tokens that was least certain.

Wang et al. 2025, arXiv 2506.01939. Differs from the off-policy regime: selection.

  rljax train --config=presets/high_entropy
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.selections.forking = dict(name='selection.high_entropy')
  return config
