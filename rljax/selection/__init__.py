"""Which tokens and samples carry the policy loss: arrays -> (keep, counted in the denominator).

A selection sees the tokens of one minibatch [..., T] and the samples of the iteration [N]; it is
computed before the minibatch is cut, so micro-batches and packing do not change it. With
`denominator='all'` what is left out is a zero in the average, with 'kept' it leaves the average.
"""

from rljax.selection.downsample import downsample, downsampled_rewards
from rljax.selection.groups import (
  overlong_filter,
  own_samples,
  pass_rate_band,
  unanimous_filter,
  with_feedback,
  zero_variance,
)
from rljax.selection.tokens import (
  covariance_subset,
  covariance_top,
  high_entropy,
  random_tokens,
)
from rljax.selection.trust import m2po, opsm, staleness, trust_region_mask

__all__ = [
  'covariance_subset',
  'covariance_top',
  'downsample',
  'downsampled_rewards',
  'high_entropy',
  'm2po',
  'opsm',
  'overlong_filter',
  'own_samples',
  'pass_rate_band',
  'random_tokens',
  'staleness',
  'trust_region_mask',
  'unanimous_filter',
  'with_feedback',
  'zero_variance',
]
