"""Multi-domain RLVR study: mathematics, code and puzzles together, the easy ones first.

Can One Domain Help Others? A Data-Centric Study on Multi-Domain Reasoning via Reinforcement
Learning, 2025. One domain or several, easy first with a new reference at each stage, rewards that
grade or do not. Differs from `domains`: stages, tasks, rewards, a KL to the reference. Adapted:
operations on words stand for code; letters in their place earn partial credit. Recalled: the
schedule from easy to hard and the new reference. One domain alone:
`--config.rl.curriculum.shares="{'math': 1.0}"`; binary rewards: `--config.rewards.reward=None`.
Expected: domains help each other or cost each other, by how alike they are.

  rljax train --config=papers/multi_domain_rlvr_study
"""

import rljax

METHOD = dict(
  paper=(
    'Can One Domain Help Others? A Data-Centric Study on Multi-Domain Reasoning via Reinforcement '
    'Learning (2025)'
  ),
  scope='RECIPE',
  stage='recipe',
  functions=('curriculum.domains', 'rewards.routed', 'rewards.matching.edits'),
  fidelity='adapted',
  baseline='domains',
  differs='prompts',
)

DOMAINS = ('math', 'code', 'puzzle')


def get_config():
  config = rljax.load_config('domains')
  easy = dict(
    math_easy=dict(task=dict(name='tasks.arithmetic', num_operands=2, num_test=64)),
    code_easy=dict(task=dict(name='tasks.edits', length=4, num_edits=1)),
    puzzle_easy=dict(task=dict(name='tasks.digits', num_digits=2, kinds=('sum',), num_test=64)),
  )
  config.task.sources = {**{name: config.task.sources[name] for name in DOMAINS}, **easy}
  exact, graded = dict(name='tasks.arithmetic.reward'), dict(name='rewards.matching.edits')
  config.rewards.reward = dict(
    name='rewards.routed',
    rewards={name: exact if name.startswith('math') else graded for name in config.task.sources},
  )
  config.stages = ('sft', 'easy', 'rl')
  config.rl.update(iterations=60, kl_coef=0.01)  # a stage's reference is the policy it begins with
  config.easy = config.rl.copy_and_resolve_references()
  for stage, names in (('easy', easy), ('rl', DOMAINS)):
    config[stage].curriculum = dict(name='curriculum.domains', shares=dict.fromkeys(names, 1.0))
  return config
