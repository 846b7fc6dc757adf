"""A*-PO: reward minus the value of the best policy within reach of the reference."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(
  denominator='samples', couples='group', traits=('shift_invariant', 'group_relative')
)
def optimal_value(
  rewards: Array,
  group_ids: Array,
  optimal_values: Array | None = None,
  *,
  beta: float = 0.5,
) -> Array:
  """A = R − V*,  V* = β·log mean_j exp(R_j / β) over the group, or `optimal_values`.

  V* is the value of the policy ∝ reference · e^{R/β}, estimated from samples of the reference: in
  A*-PO once before the training and given as `optimal_values`, in OAPL from the group itself. It
  lies between the mean (β → ∞) and the maximum (β → 0): advantages are negative on average. With
  given values nothing of what is declared holds: each sample is for itself, and a group of equal
  rewards does not get 0.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    optimal_values: float [N], V* of the sample's prompt; not finite = its samples get 0. Constant.
    beta: in units of the reward, > 0.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> print(advantages.optimal_value(rewards, groups))  # V* lies between the mean and the maximum
    [ 0.2831 -0.7169  0.      0.    ]

  Source: Brantley et al. 2025, arXiv 2505.20686; public implementations.
  Differs from the source: nothing
  Fidelity: faithful
  """
  if optimal_values is not None:
    values, known = scored(optimal_values, group_ids)
    rewards, counted = scored(rewards, group_ids)
    return jnp.where(counted & known, rewards - values, 0)
  rewards, counted = scored(rewards, group_ids)
  top = masking.zero_where_not(masking.group_max(rewards, group_ids, counted), counted)
  powers = jnp.exp((rewards - top) / beta)
  mean = masking.group_mean(powers, group_ids, counted)
  value = top + beta * jnp.log(jnp.where(mean > 0, mean, 1))
  keep = counted & ~masking.group_is_constant(rewards, group_ids, counted)
  return jnp.where(keep, rewards - value, 0)
