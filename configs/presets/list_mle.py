"""ListMLE: the likelihood of the order of four.

Xia et al. 2008; Liu et al. 2024, arXiv 2402.01878. Differs from `preference`: loss, four
candidates.

  rljax train --config=presets/list_mle
"""

import rljax


def get_config():
  config = rljax.load_config('preference')
  config.preference.loss = dict(name='losses.list_mle')
  config.preference.candidates = 4
  return config
