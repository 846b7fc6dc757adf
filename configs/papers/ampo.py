"""AMPO: a pool of teachers is asked only where all samples are wrong, and the clearest are heard.

AMPO: More Than One Teacher: Adaptive Multi-Guidance Policy Optimization for Diverse Exploration,
2025. In a group without a right answer up to half of the members are replaced by right completions
of several teachers, those first after whose reasoning the policy finds the answer most probable.
Differs from `default`: these samples, and the loss and average of their tokens. Adapted: the
teachers are three styles of writing the task's demonstrations (`rollouts.sources.records` takes a
file, `stages.teachers.saved_policy` a run). Recalled: the score of comprehension. Expected: a
higher pass@k than one teacher of the same strength, and fewer groups without a signal than GRPO.

  rljax train --config=papers/ampo
"""

import rljax

METHOD = dict(
  paper=(
    'More Than One Teacher: Adaptive Multi-Guidance Policy Optimization for Diverse Exploration '
    '(2025)'
  ),
  scope='CORE',
  stage='rollouts',
  functions=('rollouts.with_external', 'losses.luffy', 'weighting.apart'),
  fidelity='adapted',
  baseline='default',
  differs='requests',
)


def get_config():
  config = rljax.load_config('default')
  config.rl.sources = dict(
    any_order=dict(name='rollouts.sources.demonstrations'),
    larger_first=dict(name='rollouts.sources.rewritten', rewrite='tasks.steps.larger_first'),
    smaller_first=dict(name='rollouts.sources.rewritten', rewrite='tasks.steps.smaller_first'),
  )
  config.rl.rollout = dict(
    name='rollouts.with_external',
    accuracy=0.0,
    num=config.rl.samples // 2,
    right=0.5,
    choose='comprehension',
    answer_after='=',
  )
  config.rl.weights = dict(name='weighting.apart', external='seq_mean_token_mean')
  config.rl.loss = dict(name='losses.luffy')
  return config
