"""GRLO: RL by a reward model on open-ended prompts, and only then on answers that can be checked.

GRLO: Towards Generalizable Reinforcement Learning in Open-Ended Environments from Zero, 2026. A few
thousand prompts with a signal of preference raise the base model in domains that were never
trained; verified rewards come second. Differs from `quickstart`: stages, task, rewards of the first
RL stage. Adapted: sorting with graded preferences stands for conversation and arithmetic for what
can be checked; a short SFT stands for the base. Recalled: the optimiser and the reward model, of
which nothing is said. Cost per point: seconds and tokens of the summary. Expected: the first stage
raises what the reward model knows; at this size little carries over.

  rljax train --config=papers/grlo
"""

import rljax

METHOD = dict(
  paper=(
    'GRLO: Towards Generalizable Reinforcement Learning in Open-Ended Environments from Zero '
    '(2026*)'
  ),
  scope='RECIPE',
  stage='recipe',
  functions=('shaping.model_score', 'curriculum.domains', 'losses.bradley_terry'),
  fidelity='adapted',
  baseline='quickstart',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('domains')
  config.stages = ('sft', 'reward_model', 'open', 'rl')
  config.task.sources = dict(
    open=dict(task=dict(name='tasks.sorting', length=8, num_train=5000)),
    closed=dict(task=dict(name='tasks.arithmetic')),
  )
  config.reward_model.update(iterations=300, max_length=40, rows=64, row_length=40, packed=False)
  config.reward_model.optimizer.learning_rate = 1e-3
  config.reward_model.loss = dict(name='losses.bradley_terry')
  config.rl.iterations = 60
  config.open = config.rl.copy_and_resolve_references()
  config.open.reward_shaping.preference = dict(name='shaping.model_score')
  for stage, domain in (('reward_model', 'open'), ('open', 'open'), ('rl', 'closed')):
    config[stage].curriculum = dict(name='curriculum.domains', shares={domain: 1.0})
  return config
