"""HPT: a prompt that the policy cannot solve is learnt from its demonstration, others by RL.

Towards a Unified View of Large Language Model Post-Training, 2025. Supervised fine-tuning and RL
are settings of one estimator, 1_stable·(1/π_ref)·Â·∇π; which of both a prompt gets is decided by
the accuracy of its group. Differs from `presets/dr_grpo`: groups in which all samples are wrong
are replaced by the demonstration, and the loss of its tokens, which have an average of their own.
The rule of the switch is recalled. Expected: above both RL and SFT alone where many groups are
all wrong; the share of demonstrations falls as the policy learns.

  rljax train --config=papers/hpt
"""

import rljax

METHOD = dict(
  paper='Towards a Unified View of Large Language Model Post-Training (2025)',
  scope='CORE',
  stage='losses',
  functions=('losses.unified_policy_gradient', 'rollouts.with_external', 'weighting.apart'),
  fidelity='recalled',
  baseline='presets/dr_grpo',
  differs='requests',
)


def get_config():
  config = rljax.load_config('presets/dr_grpo')
  config.rl.sources.task = dict(name='rollouts.sources.demonstrations')
  config.rl.rollout = dict(name='rollouts.with_external', accuracy=0.0, place='instead')
  config.rl.weights = dict(name='weighting.apart', own='fixed_length', max_completion_length=12)
  config.rl.loss = dict(name='losses.unified_policy_gradient')
  return config
