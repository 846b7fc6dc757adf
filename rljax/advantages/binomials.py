"""Ratios of binomial coefficients."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def binomial_ratio(a: Array, b: Array, m: Array, most: int) -> Array:
  """C(a, m) / C(b, m) = Π_{s<m} (a − s) / (b − s); 0 where a < m, 1 where m = 0.

  A product and not a difference of log-gammas, which in float32 loses three digits at b = 1000.

  Args:
    a: float [N], whole numbers.
    b: float [N], whole numbers ≥ m.
    m: float [N], whole numbers ≥ 0.
    most: the largest m.

  Returns:
    float [N].
  """
  step = jnp.arange(most, dtype=a.dtype)[:, None]
  factor = jnp.maximum(a[None] - step, 0) / jnp.maximum(b[None] - step, 1)
  return jnp.prod(jnp.where(step < m[None], factor, 1), axis=0)
