"""Policy losses per token."""

import functools

from reference import losses as reference

from cases import Case
from rljax import losses

CASES = {
  'clipped_surrogate': Case(losses.clipped_surrogate, reference.clipped_surrogate),
  'clipped_surrogate, all bounds': Case(
    losses.clipped_surrogate,
    functools.partial(reference.clipped_surrogate, low=0.1, high=0.28, dual=1.5),
    {'clip_low': 0.1, 'clip_high': 0.28, 'dual_clip': 1.5},
  ),
  'reinforce': Case(losses.reinforce, reference.reinforce),
}
