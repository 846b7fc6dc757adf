"""Advantages that know right and wrong only: positive samples, negative samples, both."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(denominator='samples', couples='sequence')
def positive_only(rewards: Array, group_ids: Array, *, threshold: float = 0.5) -> Array:
  """A = 1[R ≥ threshold].

  Imitation of one's own right answers: with a clipped surrogate RAFT++, with −ℓ RAFT (rejection
  sampling). Nothing is relative to the group. Takes groups of one.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    threshold: a reward of at least this is a right answer.

  Returns:
    at least float32 [N].

  Examples:
    >>> print(advantages.positive_only(jnp.array([1.0, 0.0, 0.7]), jnp.zeros(3, int)))
    [1. 0. 1.]

  Source: Xiong et al. 2025, arXiv 2504.11343 (RAFT++).
  Differs from the source: nothing
  Fidelity: faithful
  """
  rewards, counted = scored(rewards, group_ids)
  return jnp.where(counted & (rewards >= threshold), jnp.ones_like(rewards), 0)


@declare(denominator='samples', couples='sequence')
def signs(
  rewards: Array,
  group_ids: Array,
  *,
  positive: float = 0.1,
  negative: float = 1.0,
  threshold: float = 0.5,
) -> Array:
  """A = +positive where R ≥ threshold, −negative elsewhere.

  Special cases: W-REINFORCE (0.1, 1) · NSR, only wrong answers are pushed down (0, 1) · PSR, only
  right ones are pushed up (1, 0) · REINFORCE with ±1 (1, 1). NSR's loss has no lower bound: keep a
  clipped surrogate with it. Takes groups of one.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    positive: weight of right answers.
    negative: weight of wrong answers.
    threshold: a reward of at least this is a right answer.

  Returns:
    at least float32 [N].

  Examples:
    >>> print(advantages.signs(jnp.array([1.0, 0.0, 0.7]), jnp.zeros(3, int)))
    [ 0.1 -1.   0.1]
    >>> print(advantages.signs(jnp.array([1.0, 0.0, 0.7]), jnp.zeros(3, int), positive=0.0))  # NSR
    [ 0. -1.  0.]

  Source: Zhu et al. 2025, arXiv 2506.01347.
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  rewards, counted = scored(rewards, group_ids)
  result = jnp.where(rewards >= threshold, positive, -negative).astype(rewards.dtype)
  return jnp.where(counted, result, 0)
