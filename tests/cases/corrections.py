"""Corrections of the mismatch of sampler and trainer; references take (batch, samples, **hyper)."""

import functools

from reference import corrections as reference

from cases import Case
from rljax import corrections


def case(name, **hyper):
  function = getattr(corrections, name)
  return Case(function, functools.partial(getattr(reference, name), **hyper), hyper)


CASES = {
  'token_truncate': case('token_truncate'),
  'token_truncate, both bounds': case('token_truncate', min_weight=0.8, max_weight=1.3),
  'sequence_truncate': case('sequence_truncate', max_weight=1.5),
  'token_mask': case('token_mask', min_weight=0.8, max_weight=1.3),
  'token_mask, kept': case('token_mask', denominator='kept'),
  'sequence_mask': case('sequence_mask', max_weight=1.5),
  'sequence_mask, two bounds, kept': case(
    'sequence_mask', min_weight=0.7, max_weight=3.0, denominator='kept'
  ),
  'geometric_mask': case('geometric_mask', min_mean=0.9, max_mean=1.2),
  'geometric_mask, kept': case('geometric_mask', min_mean=0.8, max_mean=1.3, denominator='kept'),
  'self_normalize': case('self_normalize'),
  'self_normalize, sequence': case('self_normalize', level='sequence'),
  'self_normalize, capped': case('self_normalize', max_weight=1.2),
  'divergence_rejection': case('divergence_rejection', upper=0.1),
  'divergence_rejection, token k1, weighted': case(
    'divergence_rejection', level='token', kind='k1', upper=0.3, lower=-0.2, weighted=True
  ),
  'divergence_rejection, sum k1': case(
    'divergence_rejection', aggregate='sum', kind='k1', upper=0.7, lower=-0.7, denominator='kept'
  ),
  'divergence_rejection, max k1': case(
    'divergence_rejection', aggregate='max', kind='k1', upper=0.6, lower=-0.6, weighted=True
  ),
  'divergence_rejection, max k2': case(
    'divergence_rejection', aggregate='max', kind='k2', upper=0.15
  ),
}
