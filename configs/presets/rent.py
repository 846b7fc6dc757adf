"""RENT: confidence as the only reward, without labels.

Prabhudesai et al. 2025, arXiv 2505.22660. Differs from `quickstart`: the reward is minus the
entropy of the sample.

  rljax train --config=presets/rent
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_shaping.confidence = dict(name='shaping.entropy_reward')
  return config
