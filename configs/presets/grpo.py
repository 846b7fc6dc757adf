"""GRPO as published: standardised in the group, mean over sequences, k3 in the loss.

Shao et al. 2024, arXiv 2402.03300. Differs from `quickstart`: aggregation, and the KL to the
reference, whose published form has the gradient of the forward KL.

  rljax train --config=presets/grpo
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.weights = dict(name='weighting.seq_mean_token_mean')
  config.rl.kl = dict(name='regularizers.forward_k3')
  config.rl.kl_coef = 0.04
  return config
