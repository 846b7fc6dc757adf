"""AutoThink: a right answer without thinking is worth most, a wrong one least, by stages.

Learning When to Think: Shaping Adaptive Reasoning in R1-Style Models via Multi-Stage RL, 2025.
First the mode that too many samples are in loses its worth, so that both stay alive; then the
table alone acts; then length is paid for too. Differs from `calculator`: shaping of the reward.
Adapted: a call of the calculator stands for thinking (`rewards.after_thinking` tells it from
marks in a text), and the stages are schedules that pass into each other. Recalled: the table, the
balance. Expected: calls only where the product is not known by heart, so shorter completions.

  rljax train --config=papers/autothink
"""

import rljax

METHOD = dict(
  paper=(
    'Learning When to Think: Shaping Adaptive Reasoning in R1-Style Models via Multi-Stage RL '
    '(2025)'
  ),
  scope='CORE',
  stage='shaping',
  functions=('shaping.think_modes', 'shaping.kimi_length'),
  fidelity='adapted',
  baseline='calculator',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('calculator')
  config.task.low, config.task.high = 10, 99  # some of them are known by heart
  config.task.update(tool_share=0.5, num_test=256)
  config.rewards.reward = dict(
    name='rewards.combinators.weighted',
    rewards=dict(right='tasks.products.reward', episode='rewards.episode_return'),
    weights=dict(episode=0.0),
  )
  config.rl.reward_components = ('episode.turns',)
  config.rl.reward_shaping.a_mode = dict(
    name='shaping.think_modes',
    component='episode.turns',
    above=1.5,
    balance=dict(schedule='linear', start=2.0, end=0.0, steps=15),
  )
  config.rl.reward_shaping.b_length = dict(
    name='shaping.kimi_length', weight=dict(schedule='linear', start=0.0, end=0.2, steps=40)
  )
  return config
