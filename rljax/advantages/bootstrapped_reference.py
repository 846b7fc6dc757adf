"""BRPO: each completion against one of its own group, drawn anew each time."""

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
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def bootstrapped_reference(
  rewards: Array, group_ids: Array, *, key: Array, max_share: float = 0.9
) -> Array:
  """A_i = sign(R_i − R_b), b drawn from the group; A_b = 0; a group with |mean_{i≠b} A| > m gets 0.

  The verdict is the advantage: a reference that is drawn from the group centres it, so no mean is
  taken off and nothing is divided. Only the order of rewards counts, as with a judge of pairs.
  Where the reference wins or loses (nearly) everywhere, verdicts tell nothing apart and the group
  is left out.

  Args:
    rewards: float [N]; not finite = unscorable: never the reference, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    key: of the draw.
    max_share: m, fraction; 1 leaves no group out.

  Returns:
    at least float32 [N]: −1, 0 or 1.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.2, 0.6, 0.0]), jnp.zeros(4, int)
    >>> key = jax.random.key(0)
    >>> print(advantages.bootstrapped_reference(rewards, groups, key=key, max_share=1.0))
    [ 1.  0.  1. -1.]

  Source: Writing-Zero: Bridge the Gap Between Non-verifiable Problems and Verifiable Rewards
    (2025).
  Differs from the source: formula not confirmed against the paper; the verdict compares rewards,
    where the paper asks a generative model of pairs, and a tie is 0; groups are left out after
    sampling and not drawn again.
  Fidelity: adapted
  """
  rewards, counted = scored(rewards, group_ids)
  drawn = jax.random.uniform(key, rewards.shape, jnp.float32)
  reference = counted & (masking.group_rank(drawn, group_ids, counted) == 0)
  against = masking.group_sum(jnp.where(reference, rewards, 0), group_ids, counted)
  verdict = jnp.where(counted & ~reference, jnp.sign(rewards - against), 0)
  others = masking.group_count(group_ids, counted) - 1
  mean = masking.group_sum(verdict, group_ids, counted) / jnp.maximum(others, 1)
  extreme = jnp.abs(mean) > max_share
  flat = masking.group_is_constant(rewards, group_ids, counted)
  return jnp.where(extreme | flat, 0, verdict)
