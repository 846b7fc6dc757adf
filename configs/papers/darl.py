"""DARL: answers that differ from each other are paid for too, if they are near the reference.

DARL: Encouraging Diverse Answers for General Reasoning without Verifiers. A likelihood of the
reference alone teaches its very words. Differs from `presets/rlpr`: a bonus in the reward, the
share of the group's answers that differ from the own one, paid within a band of deviation from
the reference. Bonus and band are recalled. Expected: more different answers at the accuracy of the
baseline, and more accuracy where references may be put in other words.

  rljax train --config=papers/darl
"""

import rljax

METHOD = dict(
  paper='DARL: Encouraging Diverse Answers for General Reasoning without Verifiers (n/s)',
  scope='CORE',
  stage='rewards',
  functions=('rollouts.reference_likelihood', 'rewards.groups.diverse_answers'),
  fidelity='recalled',
  baseline='presets/rlpr',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('presets/rlpr')
  config.rewards.reward = dict(name='rewards.groups.diverse_answers', marker='=')
  config.rl.rollout.score_coef = 0.1
  return config
