"""GHPO: a prompt that no sample solves is sampled again behind a growing part of its solution.

GHPO: Adaptive Guidance for Stable and Efficient LLM Reinforcement Learning, 2025. A quarter, a
half, then three quarters of the solution, until some sample is right; what is given is not learnt.
Other prompts are learnt by plain RL. Differs from `presets/grpo_off_policy`: requests of the groups
that are all wrong. The stages are recalled; the hint is the beginning of the completion. Expected:
fewer groups without a signal, and a gain on prompts that RL alone never solves.

  rljax train --config=papers/ghpo
"""

import rljax

METHOD = dict(
  paper=(
    'GHPO: Adaptive Guidance for Stable and Efficient LLM Reinforcement Learning (2025)'
  ),
  scope='CORE',
  stage='rollouts',
  functions=('rollouts.hinted',),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='requests',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.sources.task = dict(name='rollouts.sources.demonstrations')
  config.rl.rollout = dict(name='rollouts.hinted')
  return config
