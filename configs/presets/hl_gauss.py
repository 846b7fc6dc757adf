"""HL-Gauss: the critic is a histogram of values, trained as a classifier.

Farebrother et al. 2024, arXiv 2403.03950. Differs from `ppo`: the value loss, and with it the head
of the critic: the logits of its bins. The range has room for rewards of 0 and 1.

  rljax train --config=presets/hl_gauss
"""

import rljax


def get_config():
  config = rljax.load_config('ppo')
  config.rl.value = dict(name='losses.hl_gauss_value', low=-0.1, high=1.1, num_bins=51)
  return config
