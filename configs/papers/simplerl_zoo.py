"""SimpleRL-Zoo: RL from a weak base, with prompts of its level and nothing paid for form.

SimpleRL-Zoo: Investigating and Taming Zero Reinforcement Learning for Open Base Models in the Wild,
2025. A reward for form caps what a weak base explores, and prompts beyond it teach nothing; so the
answer alone is paid for, on the tier that fits. Truncated completions, and the length of those that
ended, are watched beside the reward. Differs from `quickstart`: task and curriculum. Adapted: a
short SFT stands for the base, the number of operands for difficulty. Recalled: the tiers, no
reward for form. Other tiers: `--config.rl.curriculum.shares="{'hard': 1.0}"`. Expected: the middle
tier teaches a weak base more than the hard one.

  rljax train --config=papers/simplerl_zoo
"""

import rljax
from rljax.tasks.steps import ALPHABET

METHOD = dict(
  paper=(
    'SimpleRL-Zoo: Investigating and Taming Zero Reinforcement Learning for Open Base Models in '
    'the Wild (2025)'
  ),
  scope='RECIPE',
  stage='recipe',
  functions=('curriculum.domains',),
  fidelity='adapted',
  baseline='quickstart',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('quickstart')
  tiers = dict(easy=2, medium=3, hard=4)
  config.task = dict(
    name='tasks.mixture',
    sources={
      tier: dict(task=dict(name='tasks.arithmetic', num_operands=n, num_test=64))
      for tier, n in tiers.items()
    },
  )
  config.evaluation.num_prompts = 96  # the other half is for `stop_accuracy`
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.sft.update(max_length=56, stop_accuracy=0.2)  # a base that solves some of the easy ones
  config.rl.update(max_prompt=16, max_new_tokens=40)
  for stage in (config.sft, config.rl):
    stage.row_length = 56
  config.rl.curriculum = dict(name='curriculum.domains', shares=dict(medium=1.0))
  return config
