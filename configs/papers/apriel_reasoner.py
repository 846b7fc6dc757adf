"""Apriel-Reasoner: domains keep their shares in what is trained on, and easy answers stay short.

Apriel-Reasoner: RL Post-Training for General-Purpose and Efficient Reasoning, 2026. Groups without
a signal are left out, which thins domains that are too easy or too hard; so more is drawn of those,
p ∝ share / share kept. Length costs more where the group is mostly right. Differs from `domains`:
curriculum, rollout strategy, shaping of the reward. Recalled: both formulas. Adapted: five small
domains. Expected: equal shares of the five in every batch, and shorter completions at the accuracy
of the baseline.

  rljax train --config=papers/apriel_reasoner
"""

import rljax

METHOD = dict(
  paper=(
    'Apriel-Reasoner: RL Post-Training for General-Purpose and Efficient Reasoning (2026*)'
  ),
  scope='CORE',
  stage='curriculum',
  functions=('curriculum.domains', 'shaping.alp', 'rollouts.dynamic_sampling'),
  fidelity='recalled',
  baseline='domains',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('domains')
  config.rl.curriculum = dict(
    name='curriculum.domains',
    shares=dict.fromkeys(config.task.sources, 1.0),
    adaptive=True,
  )
  config.rl.rollout = dict(name='rollouts.dynamic_sampling', max_rounds=4)
  config.rl.reward_shaping.length = dict(name='shaping.alp', beta=0.01)
  return config
