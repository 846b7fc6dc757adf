"""What a completion pays for coming near its limit, and for being cut off by it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored

Array = jax.Array


def overlong_penalty(
  rewards: Array,
  completion_length: Array,
  *,
  max_length: float = 20480.0,
  buffer: float = 4096.0,
  factor: float = 1.0,
  cap: bool = True,
) -> Array:
  """R' = R + factor·min(0, −(T − (max_length − buffer)) / buffer), not below R − factor.

  Nothing until `buffer` tokens before the limit, then a straight line down to −factor.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    completion_length: float [N], T, action tokens. Constant.
    max_length: action tokens.
    buffer: action tokens, > 0.
    factor: in units of the reward.
    cap: whether the penalty ends at −factor beyond the limit; otherwise the line goes on.

  Returns:
    at least float32 [N].

  Examples:
    >>> length = jnp.array([70.0, 90.0, 100.0])
    >>> print(shaping.overlong_penalty(jnp.ones(3), length, max_length=100.0, buffer=20.0))
    [1.  0.5 0. ]

  Source: Yu et al. 2025, arXiv 2503.14476, equation 13.
  Differs from the source: nothing
  Fidelity: faithful
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  length = jax.lax.stop_gradient(masking.widen(completion_length))
  over = jnp.maximum((length - (max_length - buffer)) / buffer, 0)
  penalty = factor * (jnp.minimum(over, 1) if cap else over)
  return jnp.where(jnp.isfinite(rewards), rewards - penalty, rewards)


def stop_properly(rewards: Array, truncated: Array, *, coefficient: float = 0.0) -> Array:
  """R' = coefficient·R where truncated; the coefficient itself where that is negative.

  With 0 an unfinished completion is worth nothing, with 1 nothing changes, with −1 it is a failure
  of its own, whatever it was scored.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    truncated: bool [N], ended by a limit.
    coefficient: factor in [0, 1], or a negative reward.

  Returns:
    at least float32 [N].

  Examples:
    >>> truncated = jnp.array([False, True, True])
    >>> print(shaping.stop_properly(jnp.ones(3), truncated))
    [1. 0. 0.]
    >>> print(shaping.stop_properly(jnp.ones(3), truncated, coefficient=-0.5))
    [ 1.  -0.5 -0.5]

  Source: public implementations: OpenRLHF, NeMo-RL.
  Differs from the source: nothing
  Fidelity: faithful
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  coefficient = jnp.asarray(coefficient, rewards.dtype)
  cut = jnp.where(coefficient < 0, coefficient, coefficient * rewards)
  return jnp.where(truncated & jnp.isfinite(rewards), cut, rewards)


def no_eos_zero(rewards: Array, truncated: Array) -> Array:
  """R' = 0 where truncated: no end of sequence, no reward, and no punishment either.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    truncated: bool [N], ended by a limit.

  Returns:
    at least float32 [N].

  Examples:
    >>> print(shaping.no_eos_zero(jnp.array([1.0, 1.0, -1.0]), jnp.array([False, True, True])))
    [ 1.  0. -0.]

  Source: public implementations: AReaL, SkyRL.
  Differs from the source: nothing
  Fidelity: faithful
  """
  return stop_properly(rewards, truncated, coefficient=0.0)


def difficulty_limit(
  rewards: Array,
  group_ids: Array,
  completion_length: Array,
  *,
  easy_length: float = 1000.0,
  hard_length: float = 2000.0,
  threshold: float = 0.5,
) -> Array:
  """R' = 0 where T > hard + p·(easy − hard), p the pass rate of the group.

  A limit that is tighter the easier the prompt is. It comes after sampling: p is of the answers as
  they were given, and what the sampler has cut off is for `no_eos_zero`.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    completion_length: float [N], T, action tokens. Constant.
    easy_length: limit of a group that is all right, action tokens.
    hard_length: limit of a group that is all wrong, action tokens.
    threshold: a reward of at least this is a right answer.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, length = jnp.array([1.0, 1.0, 0.0]), jnp.array([900.0, 1500.0, 900.0])
    >>> # P = 2/3: the limit is 1333
    >>> print(shaping.difficulty_limit(rewards, jnp.zeros(3, int), length))
    [1. 0. 0.]

  Source: DLER: Doing Length pEnalty Right (2025), DA-DLER.
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  old = jax.lax.stop_gradient(masking.widen(rewards))
  rewards, counted = scored(rewards, group_ids)
  length = masking.zero_where_not(jax.lax.stop_gradient(completion_length), counted)
  rate = masking.group_mean((rewards >= threshold).astype(old.dtype), group_ids, counted)
  limit = hard_length + rate * (easy_length - hard_length)
  return jnp.where(counted & (length > limit), 0, old)
