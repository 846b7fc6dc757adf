"""HL-Gauss: the critic learns a histogram of returns by cross-entropy.

Farebrother et al. 2024, arXiv 2403.03950. A target is a normal density over the bins, as wide as
three quarters of one. Differs from `ppo`: value loss and head. Adapted: the critic of a language
model, on rewards from 0 to 1. Expected: steadier values; no harm to pass@1.

  rljax train --config=papers/hl_gauss
"""

import rljax

METHOD = dict(
  paper='Stop Regressing: Training Value Functions via Classification for Scalable Deep RL (2024)',
  scope='ADAPT',
  stage='losses',
  functions=('losses.hl_gauss_value',),
  fidelity='adapted',
  baseline='ppo',
  differs='gradient',
)


def get_config():
  config = rljax.load_config('presets/hl_gauss')
  return config
