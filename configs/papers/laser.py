"""LASER-D: a right answer earns a bonus if it keeps to the length that its difficulty needs.

Learn to Reason Efficiently with Adaptive Length-based Reward Shaping, 2025. A step instead of a
cut: long right answers are still right. The length is estimated anew every ten iterations for
easy, medium and hard prompts. Differs from `quickstart`: shaping of the reward. Recalled: α = ½
and the rule of the estimate; adapted: it is made on the samples of the iteration, for there is no
monitor set. LASER itself is `shaping.step_bonus`. Expected: shorter completions where groups are
mostly right, at the accuracy of the baseline.

  rljax train --config=papers/laser
"""

import rljax

METHOD = dict(
  paper='Learn to Reason Efficiently with Adaptive Length-based Reward Shaping (2025)',
  scope='CORE',
  stage='shaping',
  functions=('shaping.adaptive_step_bonus',),
  fidelity='adapted',
  baseline='quickstart',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.reward_shaping.length = dict(name='shaping.adaptive_step_bonus', max_length=12.0)
  return config
