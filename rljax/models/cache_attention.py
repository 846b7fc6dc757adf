"""Attention of a few new tokens of each row to the blocks of the cache and to each other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rljax import trips
from rljax.models.attention import MASKED, PRECISION, soft_cap
from rljax.models.cache import TOKEN_AXIS, as_block, stored
from rljax.models.config import DecoderConfig
from rljax.models.layer_kinds import Kind
from rljax.models.layers import wide
from rljax.models.ragged import add_region, choose_for_cache

Array = jax.Array
PyTree = Any


def entries(cache: PyTree, positions: Array) -> tuple[Array, Array]:
  """(tokens of each row that are given, position of each drawn entry) before this step.

  What stands at or behind the position of a row is gone; where nothing is drawn, all is given.
  """
  rows = cache['drawn_at'].shape[0]
  at = jnp.pad(positions, (0, rows - positions.shape[0]), constant_values=-1)
  gone = (at[:, None] >= 0) & (cache['drawn_at'] >= at[:, None])
  drawn_at = jnp.where(gone, -1, cache['drawn_at'])
  fresh = (at >= 0) & jnp.all(drawn_at < 0, axis=1)
  return jnp.where(fresh, at, cache['given_length']), drawn_at


def seen_blocks(
  config: DecoderConfig, cache: PyTree, given_length: Array, drawn_at: Array, positions: Array
) -> dict[Kind, list[list[tuple[Array, Array]]]]:
  """By kind of layer, region and block: (which of its tokens a query sees, whether any is seen).

  Args:
    config: of the decoder.
    cache: before this step.
    given_length, drawn_at: see `entries`.
    positions: int32 [R, Q], of the new tokens of each row; they see what stands before the first.

  Returns:
    Masks bool [R, 1, Q, 1, block], or with 1 for Q where the queries see the same.
  """
  length = sum(x.shape[TOKEN_AXIS['k']] for x in cache['given'][0]['k'])
  slots = jnp.arange(length, dtype=jnp.int32)[None, :]
  given_at = jnp.where(slots < given_length[:, None], slots, -1)

  def region(name, at, kind):
    at = at[:, None, :]
    seen = (at >= 0) & (at < positions[:, :1, None])
    if kind.window is not None:
      seen &= positions[:, :, None] - at < kind.window
    widths = [x.shape[TOKEN_AXIS['k']] for x in cache[name][0]['k']]
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    parts = jnp.split(seen[:, None, :, None, :], ends[:-1], axis=-1)
    return [(part, jnp.any(part)) for part in parts]

  return {
    kind: [region('given', given_at, kind), region('drawn', drawn_at, kind)]
    for kind in dict.fromkeys(config.kinds)
  }


def attend_to_cache(
  config: DecoderConfig,
  kind: Kind,
  q: Array,
  k: Array,
  v: Array,
  regions: tuple[PyTree, ...],
  number: Array,
  masks: list[list[tuple[Array, Array]]],
) -> Array:
  """Attention of Q new tokens a row: [R, Q, H, d] over the blocks of their past and themselves.

  Args:
    config: of the decoder.
    kind: of the layer.
    q: [R, Q, H, d].
    k, v: [R, Q, KV, d], of the tokens themselves, which follow each other.
    regions: stacks of the regions of the cache, of `given` alone where nothing is drawn.
    number: int32 scalar, the layer within the stack.
    masks: of the kind, see `seen_blocks`. A block that nobody sees is not read.
  """
  rows, new, heads, depth = q.shape
  high = wide(q.dtype)
  grouped = jnp.moveaxis(q.reshape(rows, new, k.shape[2], heads // k.shape[2], depth), 1, 2)
  own = jnp.einsum(
    'rkqgd,rqkd->rkqg', grouped, k, precision=PRECISION, preferred_element_type=high
  )
  values = jnp.broadcast_to(jnp.moveaxis(v, 1, 2)[:, :, :, None, :].astype(high), grouped.shape)
  # Highest score, Σ weights, Σ weights · v.
  carry = (_scores(config, own), jnp.ones_like(own), values)
  if new > 1:  # of each other they see what the cache will hold, as later tokens do
    ahead = jnp.arange(new)[:, None] - jnp.arange(new)[None, :]
    seen = ((ahead > 0) & (ahead < (kind.window or new)))[None, None, :, None, :]
    carry = _add_block(config, grouped, as_block(stored(k, v, regions[0])), seen, carry)

  for region, (stack, blocks) in enumerate(zip(regions, masks)):
    if choose_for_cache(config.cache_attention, q, stack) == 'ragged':
      how = dict(scale=config.attention_scale, softcap=config.attention_softcap)
      carry = add_region(grouped, stack, number, [seen for seen, _ in blocks], carry, **how)
      continue
    widths = [seen.shape[-1] for seen, _ in blocks]
    for i, (seen, used) in enumerate(blocks):
      # What is drawn fills up from the first block on; what is given stands there.
      share = 1 - sum(widths[:i]) / sum(widths) if region else 1

      def add(_, carry, i=i, seen=seen, stack=stack):
        block = {name: _of_layer(x[i], number, rows) for name, x in stack.items()}
        return _add_block(config, grouped, block, seen, carry)

      # A loop of one turn or none and not a branch: XLA copies what a branch reads of a carry.
      with trips.taken(share):
        carry = lax.fori_loop(0, used.astype(jnp.int32), add, carry)
  _, total, out = carry
  out = jnp.moveaxis((out / total[..., None]).astype(q.dtype), 2, 1)
  return out.reshape(rows, new, heads, depth)


def _scores(config: DecoderConfig, products: Array) -> Array:
  """Scores of the products of queries and keys."""
  return soft_cap(products * config.attention_scale, config.attention_softcap)


def _add_block(config, q: Array, block: PyTree, seen: Array, carry: tuple) -> tuple:
  """The running softmax of queries [R, KV, Q, G, d] with one more block of keys and values."""
  top, total, out = carry
  how = dict(precision=PRECISION, preferred_element_type=out.dtype)
  scores = jnp.einsum('rkqgd,rkds->rkqgs', q, block['k'].astype(q.dtype), **how)
  if 'k_scale' in block:
    scores *= block['k_scale'][:, :, None, None, :]
  scores = jnp.where(seen, _scores(config, scores), MASKED)
  new_top = jnp.maximum(top, jnp.max(scores, axis=-1))
  weights, kept = jnp.exp(scores - new_top[..., None]), jnp.exp(top - new_top)
  total = total * kept + jnp.sum(weights, axis=-1)
  if 'v_scale' in block:
    weights *= block['v_scale'][:, :, None, None, :]
  values = block['v'].astype(q.dtype)
  part = jnp.einsum('rkqgs,rksd->rkqgd', weights.astype(q.dtype), values, **how)
  return new_top, total, out * kept[..., None] + part


def _of_layer(x: Array, number: Array, rows: int) -> Array:
  """The first rows of one layer of a stack."""
  if x.shape[0] == 1:
    return x[0, :rows]
  return lax.dynamic_slice(x, (number, *(0,) * (x.ndim - 1)), (1, rows, *x.shape[2:]))[0]
