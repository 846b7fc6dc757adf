"""A reward by length, turned round for wrong answers.

Yeo et al. 2025, arXiv 2502.03373. Lengths of the task. Differs from `quickstart`: shaping of the
reward.

  rljax train --config=presets/cosine_length
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_shaping.length = dict(name='shaping.cosine_length', max_length=12.0)
  return config
