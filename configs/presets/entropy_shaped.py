"""Advantages raised where the policy was undecided.

Cheng et al. 2025, arXiv 2506.14758. Differs from `quickstart`: shaping of the advantage.

  rljax train --config=presets/entropy_shaped
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage_shaping.entropy = dict(name='advantages.entropy_shaped')
  return config
