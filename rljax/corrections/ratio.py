"""log w = ℓ° − ℓ^μ of the trainer over the sampler, by token and by sample; what counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamped_exp

Array = jax.Array

DENOMINATORS = ('all', 'kept')


def log_weights(
  old_logprobs: Array, policy_logprobs: Array, action_mask: Array, segment_ids: Array
) -> tuple[Array, Array]:
  """(log w [..., T] unclamped, 0 where not usable; usable: action tokens with a finite log w)."""
  gap = masking.widen(old_logprobs) - masking.widen(policy_logprobs)
  gap = jax.lax.stop_gradient(gap)
  usable = action_mask & (segment_ids >= 0) & jnp.isfinite(gap)
  return jnp.where(usable, gap, 0), usable


def weight(log_weight: Array) -> Array:
  """w = exp(log w) with log w clamped to ±20."""
  return clamped_exp(log_weight)


def segment_mean(x: Array, mask: Array, segment_ids: Array, num_segments: int) -> Array:
  """[..., T] -> [..., S]: mean of x over the tokens of each sample where `mask`; 0 if none."""
  total = masking.segment_sum(masking.zero_where_not(x, mask), segment_ids, num_segments)
  count = masking.segment_sum(mask, segment_ids, num_segments)
  return total / jnp.maximum(count, 1)


def segment_max(x: Array, mask: Array, segment_ids: Array, num_segments: int) -> Array:
  """[..., T] -> [..., S]: maximum of x over the tokens of each sample where `mask`; 0 if none."""
  member = masking.one_hot_segments(segment_ids, num_segments) & mask[..., None]
  return masking.masked_max(jnp.broadcast_to(x[..., None], member.shape), member, axis=-2)


def sequence_log_weights(
  log_weight: Array, segment_ids: Array, sample_ids: Array
) -> Array:
  """[..., T] -> [..., T]: each token gets Σ log w over the tokens of its sample."""
  total = masking.segment_sum(log_weight, segment_ids, sample_ids.shape[-1])
  return masking.segment_to_token(total, segment_ids)


def in_denominator(name: str, denominator: str, everything: Array, kept: Array) -> Array:
  """`everything` for 'all', `kept` for 'kept'.

  Raises:
    ValueError: another denominator; names the function.
  """
  if denominator not in DENOMINATORS:
    raise ValueError(f"{name}: denominator {denominator!r} is neither 'all' nor 'kept'")
  return everything if denominator == 'all' else kept
