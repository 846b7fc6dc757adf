"""Reinforce-Rej: no baseline; groups that are all right or all wrong are left out.

Xiong et al. 2025, arXiv 2504.11343. Differs from `quickstart`: advantage of ±1, selection.

  rljax train --config=presets/reinforce_rej
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.signs', positive=1.0, negative=1.0)
  config.rl.selections.unanimous = dict(name='selection.unanimous_filter')
  return config
