"""Clip-Cov: some tokens that covary with the advantage get no gradient.

Cui et al. 2025, arXiv 2505.22617. Differs from the off-policy regime: selection. The paper's
fraction, 2e-4, and its bounds of the covariance, 1 and 5, choose nothing on so few tokens; a
fiftieth, among the upper fifth.

  rljax train --config=presets/clip_cov
"""

import rljax


def get_config():
  config = rljax.load_config('presets/_off_policy')
  config.rl.selections.covariance = dict(
    name='selection.covariance_subset', fraction=0.02, bounds='quantile', low=0.8, high=1.0
  )
  return config
