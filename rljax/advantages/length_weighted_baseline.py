"""OPO: the group's mean reward, weighted by length."""

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
def length_weighted_baseline(
  rewards: Array, group_ids: Array, completion_length: Array
) -> Array:
  """A_i = R_i − Σ_j T_j·R_j / Σ_j T_j over the group.

  The baseline of least variance where the squared norm of a sample's score grows with its length
  T. Equal lengths give R − mean.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    completion_length: float [N], number of action tokens. Constant.

  Returns:
    at least float32 [N]; exactly 0 in a group of equal rewards or of one sample.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> print(advantages.length_weighted_baseline(rewards, groups, jnp.array([3.0, 1.0, 1.0, 1.0])))
    [ 0.25 -0.75  0.    0.  ]

  Source: Hao et al. 2025, arXiv 2505.23585 (OPO).
  Differs from the source: nothing
  Fidelity: faithful
  """
  rewards, counted = scored(rewards, group_ids)
  length = masking.zero_where_not(jax.lax.stop_gradient(completion_length), counted)
  total = masking.group_sum(length, group_ids, counted)
  baseline = masking.group_sum(length * rewards, group_ids, counted)
  baseline = baseline / jnp.where(total > 0, total, 1)
  keep = counted & ~masking.group_is_constant(rewards, group_ids, counted)
  return jnp.where(keep, rewards - baseline, 0)
