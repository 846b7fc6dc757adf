"""Ratios of policies as weights: of a token, or of a whole completion."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses import ratios

Array = jax.Array

LEVELS = ('token', 'sequence')


def clamped_exp(log_ratio: Array) -> Array:
  """exp of a log-ratio, clamped to ±20."""
  return jnp.exp(ratios.clamp(log_ratio))


def completion_sum(
  x: Array, action_mask: Array, segment_ids: Array, sample_ids: Array
) -> Array:
  """[..., T] -> [..., T]: each token gets Σ x over the action tokens of its sample."""
  total, _ = ratios.sequence_sum(x, action_mask, segment_ids, sample_ids)
  return ratios.spread(total, segment_ids)


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
  log_ratio = ratios.constant(ratios.difference(logprobs, anchor))
  if level == 'sequence':
    log_ratio = completion_sum(log_ratio, action_mask, segment_ids, sample_ids)
  return clamped_exp(log_ratio)


def check_level(level: str) -> None:
  """Raises ValueError where `level` is neither 'token' nor 'sequence'."""
  if level not in LEVELS:
    raise ValueError(f'level {level!r} is not one of {", ".join(LEVELS)}')
