"""Huber error of a value function: squared near the return, linear far from it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.clipped_value import value_residual
from rljax.traits import declare

Array = jax.Array


@declare()
def huber_value(
  new_values: Array,
  values: Array,
  returns: Array,
  *,
  delta: float = 1.0,
  clip: float | None = 0.2,
) -> tuple[Array, dict[str, Array]]:
  """h(e) = ½·e² if |e| ≤ δ else δ·(|e| − ½δ); e = V − G, or that of the clipped V if it is larger.

  A return far away pulls with the force δ and no more. δ above the range of the returns is
  `clipped_value`; for rewards in [0, 1] only a δ below 1 acts.

  Args:
    new_values: float [..., T], V, of the parameters that are updated; differentiated.
    values: float [..., T], V°, of the parameters before the update. Constant.
    returns: float [..., T], G. Constant.
    delta: where the error becomes linear, in units of the reward.
    clip: half width of the band around V°, in units of the reward; None = no clip.

  Returns:
    (loss [..., T], no diagnostics).

  Examples:
    >>> values, returns = jnp.array([[0.0, 0.0]]), jnp.array([[0.5, 9.0]])
    >>> print(losses.huber_value(values, values, returns)[0])  # the far one pulls with δ = 1
    [[0.125 8.5  ]]

  Source: Huber 1964, "Robust estimation of a location parameter"; with PPO's value clip: public
    implementations.
  Differs from the source: nothing; a value exactly on the bound of the clip counts as inside.
  Fidelity: faithful
  """
  error = value_residual(new_values, values, returns, clip)
  size = error * jax.lax.stop_gradient(jnp.sign(error))
  return jnp.where(size <= delta, 0.5 * jnp.square(error), delta * (size - 0.5 * delta)), {}
