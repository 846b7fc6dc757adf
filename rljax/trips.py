"""How often a loop turns and how full an array is, where data says so: noted for those who count a
program's work.
"""

from __future__ import annotations

from typing import Any

import jax

SCOPE = 'trips_'
FILLED = 'filled_'


def taken(count: float) -> Any:
  """A scope for one loop whose length is data: it turns `count` times when its data is full.

  The program stays the same; the names of its instructions carry the number, and `rljax plan`
  counts the loop by it. Loops inside are not concerned.

  Args:
    count: trips, an upper bound or what is usual at capacity; may be a fraction.
  """
  return jax.named_scope(f'{SCOPE}{float(count):.9g}')


def filled(share: float) -> Any:
  """A scope for grouped products: of their rows this share belongs to some group.

  As in `taken` the program stays the same.

  Args:
    share: fraction, what is usual at capacity.
  """
  return jax.named_scope(f'{FILLED}{float(share):.9g}')
