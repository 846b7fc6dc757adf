"""GFPO: of sixteen samples the eight shortest are learnt from.

Shrivastava et al. 2025, arXiv 2508.09726. Differs from `quickstart`: samples leave the group before
the advantage.

  rljax train --config=presets/gfpo
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_shaping.shortest = dict(name='selection.downsampled_rewards', count=8)
  return config
