"""The strictly on-policy regime: one step on all samples of a rollout.

Ratios are 1, so all ratio losses have one gradient here. Differs from `quickstart`: one minibatch.
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.minibatches = 1
  return config
