"""NFT: likelihood of right answers, and of an implicit policy of wrong ones.

Chen et al. 2025, arXiv 2505.18116. Differs from the off-policy regime: loss.

  rljax train --config=presets/nft
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.nft')
  config.rl.advantage = None
  return config
