"""Squared error of a value function, with PPO's clip around the old values."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare()
def clipped_value(
  new_values: Array, values: Array, returns: Array, *, clip: float | None = 0.2
) -> tuple[Array, dict[str, Array]]:
  """½·max((V − G)², (V° + clip(V − V°, ±clip) − G)²).

  Args:
    new_values: float [..., T], V, of the parameters that are updated; differentiated.
    values: float [..., T], V°, of the parameters before the update. Constant.
    returns: float [..., T], G. Constant.
    clip: half width of the band around V°, in units of the reward; None = plain squared error.

  Returns:
    (loss [..., T], no diagnostics).

  Examples:
    >>> new, old, returns = jnp.array([[0.9, 0.1]]), jnp.array([[0.5, 0.0]]), jnp.ones((1, 2))
    >>> print(losses.clipped_value(new, old, returns)[0])  # 0.9 counts as 0.5 + 0.2
    [[0.045 0.405]]
    >>> print(losses.clipped_value(new, old, returns, clip=None)[0])
    [[0.005 0.405]]

  Source: Schulman et al. 2017, the authors' implementation (the paper has no value clip).
  Differs from the source: nothing; a value exactly on the bound counts as inside.
  Fidelity: faithful
  """
  return 0.5 * jnp.square(value_residual(new_values, values, returns, clip)), {}


def value_residual(
  new_values: Array, values: Array, returns: Array, clip: float | None
) -> Array:
  """The larger in size of V − G and V° + clip(V − V°, ±clip) − G; the latter is constant."""
  new_values = widen(new_values)
  values, returns = jax.lax.stop_gradient((widen(values), widen(returns)))
  residual = new_values - returns
  if clip is None:
    return residual
  moved = jax.lax.stop_gradient(new_values) - values
  bounded = values + jnp.clip(moved, -clip, clip) - returns
  clipped = (jnp.abs(moved) > clip) & (jnp.abs(bounded) > jnp.abs(residual))
  return jnp.where(clipped, bounded, residual)
