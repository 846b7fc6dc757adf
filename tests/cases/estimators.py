"""What stands beside the regularizers and is no loss: estimators, metrics, controllers."""

import functools

from reference import regularizers as reference

from cases import Case
from rljax import regularizers

SUITE = 'test_regularizers.py'


def of_d(name, loss, **hyper):
  """An estimator: its loss with ℓ^ref = 0 gives (value, slope) at d."""
  found = functools.partial(getattr(reference, loss), ref_logprobs=0.0, **hyper)
  return Case(getattr(regularizers, name), found)


ESTIMATORS = {
  'k1': of_d('k1', 'k1_in_loss'),
  'k2': of_d('k2', 'k2_in_loss'),
  'k3': of_d('k3', 'forward_k3'),
  'absolute': of_d('absolute', 'absolute_in_loss'),
  'k1_plus': of_d('k1_plus', 'k2_in_loss', value='k1'),
  'k3_plus': of_d('k3_plus', 'k2_in_loss', value='k3'),
}
CASES = {
  **{name: ESTIMATORS[name] for name in ('absolute', 'k1_plus', 'k3_plus')},
  'importance_entropy': Case(regularizers.importance_entropy, reference.importance_entropy),
  'adaptive_kl': Case(regularizers.adaptive_kl, reference.adaptive_kl),
  'adaptive_kl_init': Case(regularizers.adaptive_kl_init, float),
  'adaptive_entropy': Case(regularizers.adaptive_entropy, reference.adaptive_entropy),
  'adaptive_entropy_init': Case(regularizers.adaptive_entropy_init, float),
  'reference_average': Case(regularizers.reference_average, None),
}
