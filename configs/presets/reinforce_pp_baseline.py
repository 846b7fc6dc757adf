"""REINFORCE++ with a group baseline, whitened over the tokens of the batch.

Hu et al. 2025, arXiv 2501.03262. Differs from `quickstart`: advantage.

  rljax train --config=presets/reinforce_pp_baseline
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.reinforce_pp_baseline')
  return config
