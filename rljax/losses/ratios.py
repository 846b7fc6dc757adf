"""What losses of a policy ratio share: PPO's cases, ratios as weights, sums over a sample."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamped_exp

Array = jax.Array

LEVELS = ('token', 'sequence')


def difference(logprobs: Array, anchor: Array) -> Array:
  """ℓ − sg(ℓ'), nats, in at least float32, unclamped."""
  return masking.widen(logprobs) - jax.lax.stop_gradient(masking.widen(anchor))


def constant(x: Array) -> Array:
  """`x` in at least float32, without gradient."""
  return jax.lax.stop_gradient(masking.widen(x))


def charge(
  ratio: Array, advantages: Array, low: Array | float, high: Array | float
) -> tuple[Array, Array, Array]:
  """PPO's pessimistic clip: the ratio where it is charged, the bound where A has no more to gain.

  Selected by cases and not by max and clip, whose derivatives are split on ties and edges: a ratio
  exactly on a bound counts as inside.

  Args:
    ratio: float [..., T], differentiated.
    advantages: float [..., T].
    low: the lower bound itself, float or [..., T].
    high: the upper bound itself.

  Returns:
    (charged ratio [..., T], bool: below and A < 0, bool: above and A > 0).
  """
  below = (advantages < 0) & (ratio < low)
  above = (advantages > 0) & (ratio > high)
  return jnp.where(below, low, jnp.where(above, high, ratio)), below, above


def diagnostics(
  ratio: Array, log_ratio: Array, below: Array | None = None, above: Array | None = None
) -> dict[str, Array]:
  """`ratio_max`, `kl_old` (the k3 estimate) and, if given, `clip_low`, `clip_high`; constants."""
  out = {'ratio_max': ratio, 'kl_old': jnp.exp(log_ratio) - 1 - log_ratio}
  if below is not None:
    out |= {'clip_low': below.astype(ratio.dtype), 'clip_high': above.astype(ratio.dtype)}
  return jax.lax.stop_gradient(out)


def spread(x: Array, segment_ids: Array) -> Array:
  """[..., S] -> [..., T]: each token gets the value of its sample, padding gets 0.

  A product, so that the gradient is one too: that of a gather would be a scatter-add.
  """
  member = masking.one_hot_segments(segment_ids, x.shape[-1]).astype(x.dtype)
  return jnp.einsum('...s,...ts->...t', x, member, precision=jax.lax.Precision.HIGHEST)


def sequence_sum(
  x: Array, action_mask: Array, segment_ids: Array, sample_ids: Array
) -> tuple[Array, Array]:
  """[..., T] -> ([..., S], [..., S]): Σ x over the action tokens of each sample; their number."""
  num = sample_ids.shape[-1]
  total = masking.segment_sum(masking.zero_where_not(x, action_mask), segment_ids, num)
  return total, masking.segment_sum(action_mask, segment_ids, num)


def sequence_mean(
  x: Array, action_mask: Array, segment_ids: Array, sample_ids: Array
) -> Array:
  """[..., T] -> [..., S]: mean of x over the action tokens of each sample; 0 without any."""
  total, count = sequence_sum(x, action_mask, segment_ids, sample_ids)
  return total / jnp.maximum(count, 1)


def completion_sum(
  x: Array, action_mask: Array, segment_ids: Array, sample_ids: Array
) -> Array:
  """[..., T] -> [..., T]: each token gets Σ x over the action tokens of its sample."""
  total, _ = sequence_sum(x, action_mask, segment_ids, sample_ids)
  return spread(total, segment_ids)


def constant_ratio(
  logprobs: Array,
  anchor: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  level: str,
) -> Array:
  """sg(π/π_anchor) [..., T] of each token, or on all its tokens that of the whole completion.

  Raises:
    ValueError: an unknown level.
  """
  check_level(level)
  log_ratio = constant(difference(logprobs, anchor))
  if level == 'sequence':
    log_ratio = completion_sum(log_ratio, action_mask, segment_ids, sample_ids)
  return clamped_exp(log_ratio)


def check_level(level: str) -> None:
  """Raises ValueError where `level` is neither 'token' nor 'sequence'."""
  if level not in LEVELS:
    raise ValueError(f'level {level!r} is not one of {", ".join(LEVELS)}')
