"""Selections of tokens and samples; references take (batch, samples, **hyper)."""

import functools

from reference import selection as reference

from cases import Case
from rljax import selection


def case(name, **hyper):
  function = getattr(selection, name)
  return Case(function, functools.partial(getattr(reference, name), **hyper), hyper)


CASES = {
  'overlong_filter': case('overlong_filter'),
  'overlong_filter, all': case('overlong_filter', denominator='all'),
  'own_samples': case('own_samples'),
  'zero_variance': case('zero_variance'),
  'zero_variance, all': case('zero_variance', denominator='all'),
  'pass_rate_band': case('pass_rate_band', low=-0.1, high=0.4),
  'unanimous_filter': case('unanimous_filter', threshold=1.0),
  'unanimous_filter, all': case('unanimous_filter', threshold=-0.5, denominator='all'),
  'with_feedback': case('with_feedback'),
  'with_feedback, all': case('with_feedback', denominator='all'),
  'downsample': case('downsample', count=2),
  'downsample, reward per token': case('downsample', count=3, rule='reward_per_token'),
  'downsample, variance': case('downsample', count=3, rule='max_variance', denominator='all'),
  'downsample, variance of two': case('downsample', count=2, rule='max_variance'),
  'downsampled_rewards': case('downsampled_rewards', count=2),
  'opsm': case('opsm'),
  'opsm, kept': case('opsm', max_divergence=0.1, denominator='kept'),
  'trust_region_mask': case('trust_region_mask', max_divergence=0.25),
  'trust_region_mask, mean': case(
    'trust_region_mask', max_divergence=None, mean_divergence=0.1, denominator='kept'
  ),
  'trust_region_mask, both': case(
    'trust_region_mask', max_divergence=0.4, mean_divergence=0.15
  ),
  'm2po': case('m2po'),
  'm2po, loose': case('m2po', threshold=0.2, denominator='kept'),
  'staleness': case('staleness', max_age=2.0),
  'staleness, token': case('staleness', max_age=2.0, level='token', denominator='all'),
  'high_entropy': case('high_entropy'),
  'high_entropy, all': case('high_entropy', fraction=0.5, denominator='all'),
  'covariance_top': case('covariance_top', fraction=0.1),
}
# Those that draw; their tests say what is drawn from.
RANDOM = {
  'random_tokens': Case(selection.random_tokens, None, {'fraction': 0.3}),
  'random_tokens, all': Case(
    selection.random_tokens, None, {'fraction': 0.6, 'denominator': 'all'}
  ),
  'covariance_subset': Case(
    selection.covariance_subset, None, {'fraction': 0.1, 'low': 0.1, 'high': 0.9}
  ),
  'covariance_subset, quantiles': Case(
    selection.covariance_subset,
    None,
    {'fraction': 0.08, 'low': 0.7, 'high': 1.0, 'bounds': 'quantile', 'denominator': 'kept'},
  ),
}
