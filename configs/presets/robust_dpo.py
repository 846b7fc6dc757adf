"""Robust DPO: an unbiased loss under wrong labels.

Chowdhury et al. 2024, arXiv 2403.00409. Differs from `preference`: loss.

  rljax train --config=presets/robust_dpo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.robust_dpo')
  return config
