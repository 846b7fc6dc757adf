"""SPPO: log-ratios have targets.

Wu et al. 2024, arXiv 2405.00675. Differs from `preference`: loss.

  rljax train --config=presets/sppo_hard
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.sppo_hard')
  return config
