"""RLOO: the baseline is the mean reward of the other samples of the prompt."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(
  denominator='samples',
  couples='group',
  traits=('shift_invariant', 'zero_mean_in_group', 'group_relative'),
)
def leave_one_out(rewards: Array, group_ids: Array) -> Array:
  """A_i = R_i − mean_{j≠i} R_j = G/(G−1) · (R_i − μ).

  A reward that is not finite leaves the group and gets 0. A group of equal rewards
  (max − min ≤ 1e-6·max(1, max|R|)) or of one sample gets exactly 0.

  Args:
    rewards: float [N]; NaN = unscorable. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> print(advantages.leave_one_out(rewards, groups))
    [ 1. -1.  0.  0.]

  Source: Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free!"; Ahmadian et al.
    2024, arXiv 2402.14740, equation 8.
  Differs from the source: nothing but the rules for singletons and unscorable rewards.
  Fidelity: faithful
  """
  rewards, counted = scored(rewards, group_ids)
  size = masking.group_count(group_ids, counted)
  centred = rewards - masking.group_mean(rewards, group_ids, counted)
  keep = counted & ~masking.group_is_constant(rewards, group_ids, counted)
  return jnp.where(keep, centred * size / jnp.maximum(size - 1, 1), 0)
