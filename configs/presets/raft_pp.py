"""RAFT++: learns from right answers alone, with a clip.

Xiong et al. 2025, arXiv 2504.11343. Differs from `quickstart`: advantage.

  rljax train --config=presets/raft_pp
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.positive_only')
  return config
