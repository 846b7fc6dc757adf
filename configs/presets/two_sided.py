"""INTELLECT-2: two-sided clip, δ = 4.

Prime Intellect 2025, arXiv 2505.07291. The same loss as the dual clip with c = δ. Differs from the
off-policy regime: dual_clip.

  rljax train --config=presets/two_sided
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss.dual_clip = 4.0
  return config
