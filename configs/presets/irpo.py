"""Iterative RPO: DPO and the mean likelihood of the chosen.

Pang et al. 2024, arXiv 2404.19733. Differs from `preference`: loss.

  rljax train --config=presets/irpo
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.irpo')
  return config
