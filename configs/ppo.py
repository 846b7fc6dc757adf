"""PPO with a critic on the quick start's task: values in place of the mean of a group.

Schulman et al., "Proximal policy optimization algorithms", arXiv 1707.06347. Differs from
`quickstart`: one sample of each prompt; advantages by GAE (λ = 1: completions have a dozen tokens)
from a critic of its own that is trained beside the policy.

  rljax train --config=ppo

What to expect, over three seeds: experiments/quickstart.
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.update(
    iterations=80,
    samples=1,  # a critic needs no group
    prompts=512,
    value_coef=1.0,  # the critic has an optimizer of its own
  )
  config.rl.advantage = dict(name='advantages.gae', gae_lambda=1.0)
  config.rl.value = dict(name='losses.clipped_value')
  config.rl.critic = {k: v for k, v in config.model.items() if k != 'value_head'}
  config.rl.critic_optimizer.learning_rate = 1e-3
  return config
