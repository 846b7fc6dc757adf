"""A reference that follows the policy every tenth iteration.

Gorbatovski et al. 2024, arXiv 2404.09656 (TR-DPO); ProRL, arXiv 2505.24864. Differs from
`quickstart`: kl_coef, reference.

  rljax train --config=presets/moving_reference
"""

import rljax


def get_config():
  config = rljax.load_config('quickstart')
  config.rl.update(kl_coef=0.05, reference_every=10)
  return config
