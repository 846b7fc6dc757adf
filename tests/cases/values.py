"""Losses of value functions."""

import functools

from reference import losses as reference

from cases import Case
from rljax import losses

CASES = {
  'clipped_value': Case(losses.clipped_value, reference.clipped_value),
  'clipped_value, off': Case(
    losses.clipped_value, functools.partial(reference.clipped_value, clip=None), {'clip': None}
  ),
}
