"""REINFORCE++: returns whitened over the batch, KL in the reward, PPO clip.

Hu et al. 2025, arXiv 2501.03262. Differs from `quickstart`: advantage, KL. The whitening divides
the KL coefficient by the standard deviation of the batch.

  rljax train --config=presets/reinforce_pp
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.advantage = dict(name='advantages.reinforce_pp')
  config.rl.update(kl_coef=0.001, kl_placement='reward')
  config.rl.kl = dict(name='regularizers.kl_reward')
  return config
