"""k3 in the loss: the gradient of the forward KL.

Shao et al. 2024, arXiv 2402.03300. Differs from `quickstart`: kl, kl_coef.

  rljax train --config=presets/kl_k3
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.kl = dict(name='regularizers.forward_k3')
  config.rl.kl_coef = 0.05
  return config
