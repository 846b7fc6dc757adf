"""RL-PLUS: demonstrations by multiple importance sampling, right tokens that are rare count more.

RL-PLUS: Countering Capability Boundary Collapse of LLMs in Reinforcement Learning with
Hybrid-policy Optimization, 2025. One of the 16 members of a group is a demonstration; its ratio is
to a mixture of the policy and of what stands for its unknown author, and is not clipped. Differs
from `presets/grpo_off_policy`: who writes the samples, loss, and an average of its own for the
external part. The exponent of rare tokens is recalled. Expected: pass@k above the baseline's over
the whole range of k, on prompts that the policy never solves above all.

  rljax train --config=papers/rl_plus
"""

import rljax

METHOD = dict(
  paper=(
    'RL-PLUS: Countering Capability Boundary Collapse of LLMs in Reinforcement Learning with '
    'Hybrid-policy Optimization (2025)'
  ),
  scope='CORE',
  stage='losses',
  functions=('losses.multiple_importance', 'rollouts.with_external', 'weighting.apart'),
  fidelity='recalled',
  baseline='presets/grpo_off_policy',
  differs='requests',
)


def get_config():
  config = rljax.load_config('presets/grpo_off_policy')
  config.rl.sources.task = dict(name='rollouts.sources.demonstrations')
  config.rl.rollout = dict(name='rollouts.with_external')
  config.rl.weights = dict(name='weighting.apart')
  config.rl.loss = dict(name='losses.multiple_importance', uniform=1 / 29)  # 27 characters, 2 more
  return config
