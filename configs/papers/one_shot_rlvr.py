"""1-shot RLVR: every prompt of RL is the same one.

Reinforcement Learning for Reasoning in Large Language Models with One Training Example, 2025. One
example fills the batch; a bonus on entropy keeps the samples apart, and held-out accuracy goes on
rising when the example has long been solved. SFT still sees all prompts. Differs from
`presets/entropy_bonus`: the curriculum of RL. The entropy bonus alone, without a reward:
`--config.rewards.reward.name=rewards.random_reward --config.rewards.reward.probability=1.0`. Which
example: `curriculum.most_varied` of the accuracies of an earlier run (recalled). Expected:
held-out accuracy rises from one prompt, though less than from all.

  rljax train --config=papers/one_shot_rlvr
"""

import rljax

METHOD = dict(
  paper=(
    'Reinforcement Learning for Reasoning in Large Language Models with One Training Example '
    '(2025)'
  ),
  scope='RECIPE',
  stage='recipe',
  functions=('curriculum.fixed', 'regularizers.entropy_bonus'),
  fidelity='recalled',
  baseline='presets/entropy_bonus',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('presets/entropy_bonus')
  config.rl.curriculum = dict(name='curriculum.fixed', places=(0,))
  return config
