"""A price on n-grams that a completion says again."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def repetition_penalty(
  rewards: Array,
  tokens: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  *,
  n: int = 3,
  max_penalty: float = -1.0,
) -> Array:
  """R' = R + max_penalty·(1 − number of different n-grams / number of n-grams).

  The n-grams are n action tokens in a row; none reaches over a token that the policy did not
  sample. A completion without one pays nothing. Counted exactly: the n-grams of a row are sorted,
  and those that differ from the one before are the different ones.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    tokens: int32 [..., T].
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    sample_slots: int32 [N].
    n: tokens of an n-gram.
    max_penalty: in units of the reward, ≤ 0.

  Returns:
    at least float32 [N].

  Raises:
    ValueError: n < 1.

  Examples:
    >>> tokens, mask = jnp.array([[1, 2, 7, 7, 7, 7]]), jnp.ones((1, 6), bool)
    >>> where = mask, jnp.zeros((1, 6), int), jnp.array([[0]]), jnp.array([0])
    >>> print(shaping.repetition_penalty(jnp.ones(1), tokens, *where))  # 3 different 3-grams of 4
    [0.75]

  Source: Yeo et al. 2025, arXiv 2502.03373; public implementations.
  Differs from the source: n-grams of tokens, not of words; a penalty of the completion, not of the
    tokens that repeat.
  Fidelity: adapted
  """
  if n < 1:
    raise ValueError(f'repetition_penalty: n {n} is below 1')
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  num_segments, length = sample_ids.shape[-1], tokens.shape[-1]

  def before(x, steps, fill):
    widths = [(0, 0)] * (x.ndim - 1) + [(steps, 0)]
    return jnp.pad(x, widths, constant_values=fill)[..., :length]

  of_sample = jnp.where(action_mask & (segment_ids >= 0), segment_ids, -1)
  whole = of_sample >= 0
  for steps in range(1, n):
    whole = whole & (before(of_sample, steps, -1) == of_sample)
  grams = [jnp.where(whole, before(tokens, steps, 0), 0) for steps in range(n)]
  keys = (jnp.where(whole, of_sample, num_segments), *grams)
  keys = jax.lax.sort(keys, dimension=-1, num_keys=n + 1)
  new = jnp.arange(length) == 0
  new = jnp.broadcast_to(new.reshape((1,) * (tokens.ndim - 1) + (length,)), tokens.shape)
  for key in keys:
    new = new | (key != before(key, 1, 0))
  places = jnp.where(keys[0] < num_segments, keys[0], -1)
  different = masking.segment_sum(new.astype(rewards.dtype), places, num_segments)
  total = masking.segment_sum(whole.astype(rewards.dtype), of_sample, num_segments)
  repeated = jnp.where(total > 0, 1 - different / jnp.maximum(total, 1), 0)
  penalty = max_penalty * masking.segment_to_sample(repeated, sample_slots)
  return jnp.where(jnp.isfinite(rewards), rewards + penalty, rewards)
