"""PODS: of sixteen samples the eight of largest variance are learnt from.

Xu et al. 2025, arXiv 2504.13818. Differs from `quickstart`: samples leave the group before the
advantage.

  rljax train --config=presets/pods
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_shaping.varied = dict(
    name='selection.downsampled_rewards', count=8, rule='max_variance'
  )
  return config
