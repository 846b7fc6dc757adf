"""RLCCF: the label is what a crowd says, and who agrees with himself has the louder voice.

Wisdom of the Crowd: Reinforcement Learning from Coevolutionary Collective Feedback, 2025. A sample
is right if it gives the collective answer: votes of all members, each weighing the share of the
member's samples that give its own most frequent answer. Differs from `presets/ttrl`: samples of
several temperatures, and the vote. Adapted: the members are one policy at three temperatures, where
the source trains several models together. Recalled: the weight. Expected: better labels than the
plain majority, so a higher accuracy; the shaped mean (`method/crowd/reward`) is the collective
consistency, `reward/mean` the accuracy that nobody learns from.

  rljax train --config=papers/rlccf
"""

import rljax

METHOD = dict(
  paper=(
    'Wisdom of the Crowd: Reinforcement Learning from Coevolutionary Collective Feedback (2025)'
  ),
  scope='CORE',
  stage='shaping',
  functions=('rollouts.crowd', 'shaping.collective_vote', 'rewards.coded'),
  fidelity='adapted',
  baseline='presets/ttrl',
  differs='requests',
)


def get_config():
  config = rljax.load_config('presets/ttrl')
  config.rewards.reward = dict(name='rewards.coded', reward='tasks.words.reward')
  config.rl.rollout = dict(name='rollouts.crowd')
  config.rl.extras = ('member_ids',)
  config.rl.reward_components = ('answer_code',)
  config.rl.reward_shaping.crowd = dict(name='shaping.collective_vote')
  return config
