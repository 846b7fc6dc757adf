"""Turns and steps: runs of action tokens of one sample that share a number."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.action_rewards import next_in_segment

Array = jax.Array


def span_starts(span_ids: Array, action: Array, segment_ids: Array) -> Array:
  """bool [..., T]: the action tokens whose span differs from the previous action token's.

  Args:
    span_ids: int [..., T]; read at action tokens only.
    action: bool [..., T].
    segment_ids: int32 [..., T]; a sample's first action token always starts a span.
  """
  place = jax.lax.broadcasted_iota(jnp.int32, action.shape, action.ndim - 1)
  latest = jax.lax.cummax(jnp.where(action, place, -1), axis=action.ndim - 1)
  before = jnp.concatenate([jnp.full_like(latest[..., :1], -1), latest[..., :-1]], axis=-1)

  def same(x):
    return jnp.take_along_axis(x, jnp.maximum(before, 0), axis=-1) == x

  return action & ~((before >= 0) & same(segment_ids) & same(span_ids))


def from_start(x: Array, start: Array) -> Array:
  """[..., T]: x at the latest slot of `start`, at or before each slot."""
  place = jax.lax.broadcasted_iota(jnp.int32, start.shape, start.ndim - 1)
  latest = jax.lax.cummax(jnp.where(start, place, 0), axis=start.ndim - 1)
  return jnp.take_along_axis(x, latest, axis=-1)


def span_returns(
  reward: Array, action: Array, segment_ids: Array, span_ids: Array, gamma: float
) -> tuple[Array, Array]:
  """G_k = r_k + γ·G_{k+1} with r_k the sum of the rewards of span k.

  Args:
    reward, action: as from `action_rewards`.
    segment_ids, span_ids: as in `span_starts`.
    gamma: discount per span.

  Returns:
    (returns [..., T], the same for all action tokens of a span and 0 elsewhere; bool [..., T],
    where spans start).
  """
  start = span_starts(span_ids, action, segment_ids)
  decay = jnp.where(next_in_segment(start, segment_ids), gamma, 1.0)
  to_go = masking.reverse_segment_scan(decay, reward, segment_ids)
  return jnp.where(action, from_start(to_go, start), 0), start
