"""Bounds on advantages."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.traits import declare

Array = jax.Array


@declare()
def clip_advantages(
  advantages: Array,
  action_mask: Array,
  *,
  low: float | None = None,
  high: float | None = None,
) -> Array:
  """min(max(A, low), high).

  Args:
    advantages: float [..., T].
    action_mask: bool [..., T]; the other tokens get 0.
    low: lower bound; None = none.
    high: upper bound; None = none.

  Returns:
    at least float32 [..., T]. Constant.

  Raises:
    ValueError: there is no bound.

  Examples:
    >>> found = jnp.array([[-3.0, 0.5, 3.0]])
    >>> print(advantages.clip_advantages(found, jnp.ones((1, 3), bool), low=-1.0, high=2.0))
    [[-1.   0.5  2. ]]

  Source: public implementations.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  if low is None and high is None:
    raise ValueError('clip_advantages: give low, high or both')
  advantages = masking.zero_where_not(jax.lax.stop_gradient(advantages), action_mask)
  if low is not None:
    advantages = jnp.maximum(advantages, low)
  if high is not None:
    advantages = jnp.minimum(advantages, high)
  return jnp.where(action_mask, advantages, 0)
