"""L1: answers of a wanted length.

Aggarwal and Welleck 2025, arXiv 2503.04697. The target is that of the task, 11 tokens; α for
lengths of a dozen. Differs from `quickstart`: shaping of the reward.

  rljax train --config=presets/l1_exact
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_shaping.length = dict(name='shaping.lcpo_exact', target=11.0, alpha=0.03)
  return config
