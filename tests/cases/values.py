"""Losses of value functions."""

import functools

from reference import values as reference

from cases import Case
from rljax import losses


def case(name, **hyper):
  found = functools.partial(getattr(reference, name), **hyper)
  return Case(getattr(losses, name), found, hyper)


CASES = {
  'clipped_value': case('clipped_value'),
  'clipped_value, off': case('clipped_value', clip=None),
  'huber_value': case('huber_value'),
  'huber_value, narrow': case('huber_value', delta=0.3, clip=0.5),
  'huber_value, no clip': case('huber_value', delta=0.3, clip=None),
}
