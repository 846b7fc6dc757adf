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

  Source: Schulman et al. 2017, the authors' implementation (the paper has no value clip).
  Differs from the source: nothing; a value exactly on the bound counts as inside.
  """
  new_values = widen(new_values)
  values, returns = jax.lax.stop_gradient((widen(values), widen(returns)))
  error = jnp.square(new_values - returns)
  if clip is None:
    return 0.5 * error, {}
  moved = jax.lax.stop_gradient(new_values) - values
  bounded = jnp.square(values + jnp.clip(moved, -clip, clip) - returns)
  clipped = (jnp.abs(moved) > clip) & (bounded > error)
  return 0.5 * jnp.where(clipped, bounded, error), {}
