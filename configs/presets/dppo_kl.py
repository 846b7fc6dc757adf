"""DPPO: the trust region by a binary KL.

Qi et al. 2026, arXiv 2602.04879. Differs from the off-policy regime: loss, anchored at the sampler.

  rljax train --config=presets/dppo_kl
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.dppo_kl')
  return config
