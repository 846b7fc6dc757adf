"""TTRL: the most frequent answer of the group is the label, right or not.

Zuo et al. 2025, arXiv 2504.16084. Differs from `quickstart`: the reward, which sees no answer.

  rljax train --config=presets/ttrl
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rewards.reward = dict(name='rewards.groups.majority', extract='rewards.answers.whole')
  return config
