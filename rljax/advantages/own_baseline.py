"""The baseline of all samples of a prompt is what the policy's own ones are paid."""

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
def own_baseline(rewards: Array, group_ids: Array, is_external: Array) -> Array:
  """A_i = R_i − mean_{own j ≠ i} R_j: also external samples are measured by the policy's own.

  So what is better than the policy is learnt from though all external samples be equal. A sample
  without another own one beside it gets 0, and so do a reward that is not finite and a group of
  equal rewards.

  Args:
    rewards: float [N]; NaN = unscorable. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    is_external: bool [N], not what the policy says to the prompt alone.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, groups = jnp.array([0.0, 0.2, 1.0, 1.0]), jnp.zeros(4, int)
    >>> print(advantages.own_baseline(rewards, groups, jnp.array([False, False, True, True])))
    [-0.2  0.2  0.9  0.9]

  Source: RLTF, "Expanding the Capabilities of Reinforcement Learning via Text Feedback" (2026): the
    baseline of second attempts.
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  rewards, counted = scored(rewards, group_ids)
  own = counted & ~is_external
  others = masking.group_count(group_ids, own) - own
  total = masking.group_sum(rewards, group_ids, own) - jnp.where(own, rewards, 0)
  known = counted & (others > 0) & ~masking.group_is_constant(rewards, group_ids, counted)
  return jnp.where(known, rewards - total / jnp.maximum(others, 1), 0)
