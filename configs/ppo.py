"""PPO with a critic on the quick start's task: GAE instead of the mean of a group.

Differs from `quickstart`: values by a model of its own, trained beside the policy; advantages by
GAE; two epochs of four minibatches a rollout, so that the clip acts.

  rljax train --config=ppo
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.update(
    samples=1,  # a critic needs no group
    prompts=256,
    epochs=2,
    minibatches=4,
    value_coef=1.0,  # the critic has an optimizer of its own
  )
  config.rl.advantage = dict(name='advantages.gae', gae_lambda=0.95)
  config.rl.value = dict(name='losses.clipped_value')
  config.rl.critic = {k: v for k, v in config.model.items() if k != 'value_head'}
  config.rl.critic_optimizer.learning_rate = 1e-3
  return config
