"""RLOO: REINFORCE with the mean of the others as baseline, KL in the reward.

Ahmadian et al. 2024, arXiv 2402.14740. Differs from `quickstart`: advantage, loss and aggregation,
the KL of whole sequences in the reward, one step for each rollout.

  rljax train --config=presets/rloo
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_on_policy')
  config.rl.advantage = dict(name='advantages.leave_one_out')
  config.rl.loss = dict(name='losses.reinforce')
  config.rl.weights = dict(name='weighting.seq_mean_token_sum')
  config.rl.update(kl_coef=0.01, kl_placement='reward')
  config.rl.kl = dict(name='regularizers.kl_reward')
  return config
