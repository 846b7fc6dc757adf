"""How often a loop turns, where its length is data: noted for those who count a program's work."""

from __future__ import annotations

from typing import Any

import jax

SCOPE = 'trips_'


def taken(count: float) -> Any:
  """A scope for one loop whose length is data: it turns `count` times when its data is full.

  The program stays the same; the names of its instructions carry the number, and `rljax plan`
  counts the loop by it. Loops inside are not concerned.

  Args:
    count: trips, an upper bound or what is usual at capacity; may be a fraction.
  """
  return jax.named_scope(f'{SCOPE}{float(count):.9g}')
