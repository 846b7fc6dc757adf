"""KL-Cov: a penalty on the tokens that covary most with the advantage.

Cui et al. 2025, arXiv 2505.22617. Differs from the off-policy regime: loss. The fraction of the
paper, 2e-4, is less than a token here; 0.02.

  rljax train --config=presets/kl_cov
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.loss = dict(name='losses.kl_cov')
  config.rl.derived.covariance_selected = dict(name='selection.covariance_top', fraction=0.02)
  return config
