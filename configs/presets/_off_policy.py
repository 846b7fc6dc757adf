"""The off-policy regime, in which ratio losses differ: 16 steps on each rollout.

Eight minibatches and two epochs, so most steps are on samples of an older policy. Differs from
`quickstart` in that, and in a smaller learning rate for more steps.
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.update(minibatches=8, epochs=2)
  config.rl.optimizer.learning_rate = 1e-4
  return config
