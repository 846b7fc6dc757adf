"""Values as histograms: their logits have an axis of their own, so they have their own suite."""

from reference import values as reference

from cases import Case
from rljax import losses

SUITE = 'test_values.py'
CASES = {
  'hl_gauss_value': Case(losses.hl_gauss_value, reference.hl_gauss_value),
  'hl_gauss_mean': Case(losses.hl_gauss_mean, reference.gaussian_histogram),
}
