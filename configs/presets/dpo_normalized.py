"""DPO on mean log-ratios of tokens.

Lambert et al. 2024, arXiv 2411.15124 (Tülu 3). Differs from `preference`: loss; β for means over a
dozen tokens.

  rljax train --config=presets/dpo_normalized
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.dpo', length_normalize=True, beta=1.0)
  return config
