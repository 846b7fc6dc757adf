"""OTB: a baseline of least variance for each token.

Public implementation: verl, optimal token baseline. Differs from `quickstart`: advantage, which
takes Σπ² of the policy before the update.

  rljax train --config=presets/otb
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.optimal_token_baseline')
  return config
