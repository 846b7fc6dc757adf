"""Rewards of length: a given one, or as short as the group allows."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored

Array = jax.Array


def lcpo_exact(
  rewards: Array,
  completion_length: Array,
  target_length: Array | None = None,
  *,
  target: float = 1000.0,
  alpha: float = 3e-4,
) -> Array:
  """R' = R − α·|n* − T|.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    completion_length: float [N], T, action tokens. Constant.
    target_length: float [N], n*, action tokens, what the prompt asks for. Constant.
    target: n* where there is no such array.
    alpha: per token.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, length = jnp.ones(3), jnp.array([500.0, 1000.0, 1500.0])
    >>> print(shaping.lcpo_exact(rewards, length))
    [0.85 1.   0.85]

  Source: Aggarwal and Welleck 2025, arXiv 2503.04697, equation 1 (L1-Exact).
  Differs from the source: nothing
  Fidelity: faithful
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  left = _left(completion_length, target if target_length is None else target_length)
  return jnp.where(jnp.isfinite(rewards), rewards - alpha * jnp.abs(left), rewards)


def lcpo_max(
  rewards: Array,
  completion_length: Array,
  target_length: Array | None = None,
  *,
  target: float = 1000.0,
  alpha: float = 3e-4,
  delta: float = 0.5,
) -> Array:
  """R' = R·clip(α·(n* − T) + δ, 0, 1).

  n* is a budget: what goes beyond it costs gently, and a wrong answer (R = 0) gains nothing by
  being short.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    completion_length: float [N], T, action tokens. Constant.
    target_length: float [N], n*, action tokens, what the prompt allows. Constant.
    target: n* where there is no such array.
    alpha: per token.
    delta: the factor of a completion that uses its budget up.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, length = jnp.ones(3), jnp.array([500.0, 1000.0, 1500.0])
    >>> print(shaping.lcpo_max(rewards, length, alpha=1e-3))
    [1.  0.5 0. ]

  Source: Aggarwal and Welleck 2025, arXiv 2503.04697, equation 2 (L1-Max).
  Differs from the source: nothing
  Fidelity: faithful
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  left = _left(completion_length, target if target_length is None else target_length)
  return jnp.where(
    jnp.isfinite(rewards), rewards * jnp.clip(alpha * left + delta, 0, 1), rewards
  )


def _left(completion_length: Array, target: Array | float) -> Array:
  length = jax.lax.stop_gradient(masking.widen(completion_length))
  return jax.lax.stop_gradient(jnp.asarray(target, length.dtype)) - length


def kimi_length(
  rewards: Array,
  group_ids: Array,
  completion_length: Array,
  *,
  weight: float = 1.0,
  threshold: float = 0.5,
) -> Array:
  """R' = R + weight·λ if right, + weight·min(0, λ) if wrong; λ = ½ − (T − min)/(max − min).

  Minimum and maximum are of the group; where they are equal λ = 0. The source warms the weight up.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    completion_length: float [N], T, action tokens. Constant.
    weight: in units of the reward.
    threshold: a reward of at least this is a right answer.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, length = jnp.array([1.0, 1.0, 0.0]), jnp.array([10.0, 30.0, 10.0])
    >>> # A short wrong one gains nothing
    >>> print(shaping.kimi_length(rewards, jnp.zeros(3, int), length))
    [1.5 0.5 0. ]

  Source: Kimi team 2025, arXiv 2501.12599, section 2.3.3.
  Differs from the source: nothing
  Fidelity: faithful
  """
  old, rewards, counted, length = _in_group(rewards, group_ids, completion_length)
  shortest = masking.group_min(length, group_ids, counted)
  spread = masking.group_max(length, group_ids, counted) - shortest
  spread = jnp.where(counted, spread, 0)
  place = (length - jnp.where(counted, shortest, 0)) / jnp.where(spread > 0, spread, 1)
  score = jnp.where(spread > 0, 0.5 - place, 0)
  score = jnp.where(rewards >= threshold, score, jnp.minimum(score, 0))
  return jnp.where(counted, rewards + weight * score, old)


def alp(
  rewards: Array,
  group_ids: Array,
  completion_length: Array,
  *,
  beta: float = 1e-7,
  threshold: float = 0.5,
) -> Array:
  """R' = R − β·T·max(p, 1/G), p the pass rate of the group.

  A token costs more the easier the prompt is.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    completion_length: float [N], T, action tokens. Constant.
    beta: per token; the default is meant for tens of thousands of them.
    threshold: a reward of at least this is a right answer.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, length = jnp.array([1.0, 1.0, 0.0]), jnp.array([10.0, 30.0, 10.0])
    >>> print(shaping.alp(rewards, jnp.zeros(3, int), length, beta=0.01))  # p = 2/3
    [ 0.9333  0.8    -0.0667]

  Source: Xiang et al. 2025, arXiv 2506.05256.
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  old, rewards, counted, length = _in_group(rewards, group_ids, completion_length)
  size = jnp.maximum(masking.group_count(group_ids, counted), 1)
  passed = masking.group_count(group_ids, counted & (rewards >= threshold))
  rate = jnp.maximum(passed, 1).astype(rewards.dtype) / size
  return jnp.where(counted, rewards - beta * length * rate, old)


def shorter_better(
  rewards: Array,
  group_ids: Array,
  completion_length: Array,
  *,
  alpha: float = 2.0,
  beta: float = 1e-3,
  threshold: float = 0.5,
) -> Array:
  """R' = α·R − β·|T − T*|, T* the shortest right completion of the group, its mean if none is.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    completion_length: float [N], T, action tokens. Constant.
    alpha: factor of the reward.
    beta: per token.
    threshold: a reward of at least this is a right answer.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, length = jnp.array([1.0, 1.0, 0.0]), jnp.array([10.0, 30.0, 10.0])
    >>> print(shaping.shorter_better(rewards, jnp.zeros(3, int), length, beta=0.01))
    [2.  1.8 0. ]

  Source: Yi et al. 2025, arXiv 2504.21370.
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  old, rewards, counted, length = _in_group(rewards, group_ids, completion_length)
  right = counted & (rewards >= threshold)
  shortest = masking.group_min(length, group_ids, right)
  mean = masking.group_mean(length, group_ids, counted)
  best = jnp.where(jnp.isfinite(shortest), shortest, mean)
  return jnp.where(counted, alpha * rewards - beta * jnp.abs(length - best), old)


def _in_group(
  rewards: Array, group_ids: Array, completion_length: Array
) -> tuple[Array, Array, Array, Array]:
  """(rewards as given, with 0 where they do not count, where they count, lengths there)."""
  old = jax.lax.stop_gradient(masking.widen(rewards))
  rewards, counted = scored(rewards, group_ids)
  length = masking.zero_where_not(jax.lax.stop_gradient(completion_length), counted)
  return old, rewards, counted, length


def cosine_length(
  rewards: Array,
  completion_length: Array,
  *,
  max_length: float = 1000.0,
  right_short: float = 1.0,
  right_long: float = 0.5,
  wrong_short: float = -1.0,
  wrong_long: float = -0.5,
  threshold: float = 0.5,
) -> Array:
  """R' = long + ½·(short − long)·(1 + cos(π·min(T/L, 1))), other ends for right and wrong.

  Takes the place of R. A right answer is worth most when short, a wrong one is least bad when long:
  thinking on is encouraged where the answer is not found yet.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    completion_length: float [N], T, action tokens. Constant.
    max_length: L, action tokens.
    right_short: of a right answer of length 0.
    right_long: of a right answer of length L or more.
    wrong_short: of a wrong answer of length 0.
    wrong_long: of a wrong answer of length L or more.
    threshold: a reward of at least this is a right answer.

  Returns:
    at least float32 [N].

  Examples:
    >>> length = jnp.array([0.0, 500.0, 1000.0])
    >>> print(shaping.cosine_length(jnp.ones(3), length))
    [1.   0.75 0.5 ]
    >>> print(shaping.cosine_length(jnp.zeros(3), length))  # wrong: better long than short
    [-1.   -0.75 -0.5 ]

  Source: Yeo et al. 2025, arXiv 2502.03373; the ends of public implementations.
  Differs from the source: no reward of its own for exceeding the limit.
  Fidelity: faithful
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  length = jax.lax.stop_gradient(masking.widen(completion_length))
  fall = (1 + jnp.cos(jnp.pi * jnp.minimum(length / max_length, 1))) / 2
  right = rewards >= threshold
  short = jnp.where(right, right_short, wrong_short).astype(rewards.dtype)
  long = jnp.where(right, right_long, wrong_long).astype(rewards.dtype)
  return jnp.where(jnp.isfinite(rewards), long + (short - long) * fall, rewards)
