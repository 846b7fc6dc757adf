"""A `Policy` of a model without a cache: it holds tokens, and each step reads them all again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from rljax.models.layers import wide
from rljax.structs import Policy


def without_cache(
  name: str,
  apply: Callable[..., Any],
  *,
  head: Callable[..., Any] | None,
  unembed: Callable[..., Any] | None,
  **others: Any,
) -> Policy:
  """What an adapter makes of a user's module.

  Args:
    name: of the adapter, in its errors.
    apply: `(params, tokens, positions, segment_ids) -> hidden or logits`.
    head, unembed: as in `Policy`; None = all params, and that `apply` gives logits.
    others: further fields of the policy.
  """

  def hidden(params, tokens, *, segment_ids, positions, prefix_ids=None, routing=None):
    del routing
    if prefix_ids is not None:
      raise ValueError(f'{name}: the module takes no prefix_ids; pack without shared prompts')
    return apply(params, tokens, positions, segment_ids), {}

  if unembed is None:
    head, unembed = (lambda params: ()), (lambda head, logits: logits.astype(wide(logits.dtype)))
  return Policy(
    hidden=hidden,
    head=head or (lambda params: params),
    unembed=unembed,
    **recomputing(hidden),
    **others,
  )


def recomputing(hidden: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
  """The cache functions of a `Policy` with this `hidden`: right, and T times the work."""

  def over_rows(params, cache, used):
    """Hidden states of whole rows whose first `used` tokens count."""
    slots = jnp.arange(cache.shape[1], dtype=jnp.int32)[None, :]
    segments = jnp.where(slots < used[:, None], 0, -1)
    positions = jnp.broadcast_to(slots, cache.shape)
    return hidden(params, cache, segment_ids=segments, positions=positions)[0]

  def prefill(params, cache, tokens, starts):
    slots = starts[:, None] + jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :]
    rows = jnp.arange(tokens.shape[0])[:, None]
    cache = cache.at[rows, slots].set(tokens, mode='drop')
    out = over_rows(params, cache, starts + tokens.shape[1])
    return out.at[rows, slots].get(mode='clip'), cache

  def extend(params, cache, tokens, positions):
    active = cache[: tokens.shape[0]]
    slots = positions[:, None] + jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :]
    kept = jnp.where(positions[:, None] < 0, active.shape[1], slots)  # idle rows write nothing
    rows = jnp.arange(tokens.shape[0])[:, None]
    active = active.at[rows, kept].set(tokens, mode='drop')
    out = over_rows(params, active, positions + tokens.shape[1])
    return out.at[rows, slots].get(mode='clip'), cache.at[: tokens.shape[0]].set(active)

  def decode(params, cache, tokens, positions):
    out, cache = extend(params, cache, tokens[:, None], positions)
    return out[:, 0], cache

  def init_cache(num_rows, given, drawn=0, dtype=None):
    del dtype  # it holds tokens
    return jnp.zeros((num_rows, given + drawn), jnp.int32)

  def put(cache, rows, other, sources=None):
    rows = jnp.where(rows < 0, cache.shape[0], rows)
    other = other if sources is None else other.at[sources].get(mode='clip')
    return cache.at[rows, : other.shape[1]].set(other, mode='drop')

  return {
    'init_cache': init_cache,
    'prefill': prefill,
    'decode': decode,
    'extend': extend,
    'take': lambda cache, rows: cache.at[rows].get(mode='clip'),
    'put': put,
    'copy': lambda cache, rows, sources: put(cache, rows, cache, sources),
  }
