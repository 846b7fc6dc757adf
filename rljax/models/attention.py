"""The one attention function: training rows with segments, and queries against a cache."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rljax.models.row_attention import FLOOR, MASKED, PRECISION, Blocks
from rljax.models.training_attention import Asked, attend_training

Array = jax.Array


def attention(
  q: Array,
  k: Array,
  v: Array,
  *,
  segment_ids: Array | None = None,
  prefix_ids: Array | None = None,
  positions: Array | None = None,
  kv_lengths: Array | None = None,
  window: int | None = None,
  softcap: float | None = None,
  scale: float | None = None,
  query_block: int = 512,
  return_lse: bool = False,
  blocks: Blocks | None = None,
  implementation: str = 'auto',
  sequence: str = 'auto',
) -> Any:
  """Grouped-query attention: out_t = Σ_s softmax_s(scale · q_t·k_s) v_s over what t may see.

  Two forms. *Training* (`kv_lengths` is None; T = S): t sees s when s stands in t's segment, or in
  the segment that `prefix_ids` names, at a position up to t's own. *Cache* (`kv_lengths` given):
  slot s of the keys is position s, and t sees it when s < kv_lengths and s ≤ positions[t].

  Special cases: H = KV is multi-head, KV = 1 multi-query attention; without segments a row is one
  sample.

  Args:
    q: float [R, T, H, d], differentiated.
    k: float [R, S, KV, d], differentiated; query head h reads head h // (H / KV).
    v: float [R, S, KV, d], differentiated.
    segment_ids: int32 [R, T], the sample within the row, −1 = padding; None = one sample a row.
    prefix_ids: int32 [R, T] or None, a further segment that the token sees; −1 = none.
    positions: int32 [R, T]. Training: of queries and keys, None = slots. Cache: of the queries,
      None = the last T before kv_lengths.
    kv_lengths: int32 [R], keys in use.
    window: t sees s only if position t − position s < window; None = all.
    softcap: scores become softcap · tanh(scores / softcap); None = off.
    scale: None = d^-1/2.
    query_block: queries handled at once, and in the training form keys too: scores take
      R · H · query_block · query_block · 4 bytes there, R · H · query_block · S · 4 in the other.
    return_lse: also return log Σ_s exp(score).
    blocks: what `cut_rows` made of segments, prefixes, positions, window and query_block, where a
      caller needs it more than once; training form.
    implementation: `DecoderConfig.attention`; training form. The decoder's own cache, which has
      another layout, is attended to in `cached` and `ragged`.
    sequence: `DecoderConfig.sequence_attention`; training form.

  Returns:
    out [R, T, H, d] in q's dtype; with return_lse also lse [R, T, H], at least float32. A query
    that sees nothing gets an average of v that means nothing, in the training form 0, and an lse
    below −1e29.

  Raises:
    ValueError: H is no multiple of KV; the implementation is unknown or cannot do what is asked.

  Source: Vaswani et al., arXiv 1706.03762, eq. 1; grouped queries: Ainslie et al., 2305.13245.

  Differs from the source: the masks above; softmax in at least float32.
  """
  rows, length, heads, depth = q.shape
  if heads % k.shape[2]:
    raise ValueError(f'attention: {heads} query heads are no multiple of {k.shape[2]} key heads')
  scale = depth**-0.5 if scale is None else scale
  if positions is None:
    last = jnp.full((rows,), length, jnp.int32) if kv_lengths is None else kv_lengths
    positions = last[:, None] - length + jnp.arange(length, dtype=jnp.int32)[None, :]
  if kv_lengths is None:
    ids = jnp.zeros((rows, length), jnp.int32) if segment_ids is None else segment_ids
    asked = Asked(ids, prefix_ids, positions, window, softcap, scale, query_block, return_lse)
    return attend_training(
      q, k, v, asked, blocks, implementation=implementation, sequence=sequence
    )

  if implementation not in ('auto', 'xla'):
    raise ValueError(f'attention={implementation!r}: no kernel attends to a cache of this form')

  def block(queries):
    mask = _visible(queries['positions'], kv_lengths, k.shape[1], window)
    return _attend(queries['q'], k, v, mask, scale, softcap)

  queries = {'q': q, 'positions': positions}
  if length <= query_block:
    out, lse = block(queries)
  else:
    out, lse = _in_blocks(block, queries, query_block)
  return (out, lse) if return_lse else out


def soft_cap(x: Array, cap: float | None) -> Array:
  """cap · tanh(x / cap); None = x."""
  return x if cap is None else cap * jnp.tanh(x / cap)


def attention_entropy(q: Array, k: Array, *, scale: float | None = None, **seen: Any) -> Array:
  """H_t = −Σ_s a_ts·log a_ts = lse_t − scale·q_t·(Σ_s a_ts·k_s), a the weights of `attention`.

  The mean of the scores is the score of the mean key, and that is what attention gives with the
  keys for values: no weights stand in memory, but one more attention is computed.

  Args:
    q: float [R, T, H, d].
    k: float [R, T, KV, d].
    scale: None = d^-1/2.
    **seen: segment_ids, prefix_ids, positions, window, query_block, blocks: as in `attention`, in
      its training form.

  Returns:
    at least float32 [R, T, H], nats, of the query at t; 0 for one that sees a single key or none.
    Constant.
  """
  q, k = jax.lax.stop_gradient((q, k))
  wide = jnp.promote_types(q.dtype, jnp.float32)
  scale = q.shape[-1] ** -0.5 if scale is None else scale
  q, k = q.astype(wide), k.astype(wide)
  plain = dict(return_lse=True, implementation='xla', sequence='none')
  key, lse = attention(q, k, k, scale=scale, **plain, **seen)
  mean = jnp.sum(q * key, axis=-1) * scale
  return jnp.maximum(jnp.where(lse > FLOOR, lse - mean, 0), 0)


def _visible(positions: Array, kv_lengths: Array, keys: int, window: int | None) -> Array:
  """bool [R, T, S]: the key of a cache may be seen by the query."""
  at, slots = positions[:, :, None], jnp.arange(keys, dtype=jnp.int32)[None, None, :]
  mask = (slots <= at) & (slots < kv_lengths[:, None, None])
  return mask if window is None else mask & (at - slots < window)


def _attend(q, k, v, mask, scale, softcap) -> tuple[Array, Array]:
  """Softmax attention of [R, T, H, d] over [R, S, KV, d] under a mask [R, T, S]."""
  rows, length, heads, depth = q.shape
  kv_heads = k.shape[2]
  wide = jnp.promote_types(q.dtype, jnp.float32)
  grouped = q.reshape(rows, length, kv_heads, heads // kv_heads, depth)
  if length == 1:
    scores = _scores_of_one(grouped, k, wide)
  else:
    scores = jnp.einsum(
      'rtkgd,rskd->rkgts', grouped, k, precision=PRECISION, preferred_element_type=wide
    )
  scores = soft_cap(scale * scores, softcap)
  scores = jnp.where(mask[:, None, None, :, :], scores, MASKED)
  top = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
  weights = jnp.exp(scores - top)
  total = jnp.sum(weights, axis=-1, keepdims=True)
  lse = jnp.moveaxis((top + jnp.log(total))[..., 0], 3, 1)
  weights = weights / total
  if length == 1:
    out = _mean_of_one(weights, v)
  else:
    out = jnp.einsum('rkgts,rskd->rtkgd', weights.astype(v.dtype), v, precision=PRECISION)
  return out.reshape(rows, length, heads, depth), lse.reshape(rows, length, heads)


def _scores_of_one(q: Array, k: Array, wide: Any) -> Array:
  """[R, 1, KV, G, d] · [R, S, KV, d] -> [R, KV, G, 1, S]; a cache has S beside d."""
  k = jnp.swapaxes(k, 1, 2)
  scores = jnp.einsum(
    'rkgd,rksd->rkgs', q[:, 0], k, precision=PRECISION, preferred_element_type=wide
  )
  return scores[:, :, :, None, :]


def _mean_of_one(weights: Array, v: Array) -> Array:
  """[R, KV, G, 1, S] · [R, S, KV, d] -> [R, 1, KV, G, d]."""
  v = jnp.swapaxes(v, 1, 2)
  out = jnp.einsum('rkgs,rksd->rkgd', weights[:, :, :, 0].astype(v.dtype), v, precision=PRECISION)
  return out[:, None]


def _in_blocks(block, queries: dict[str, Any], size: int) -> tuple[Array, Array]:
  """`block` over the queries in turn; the backward pass recomputes each block's scores."""
  rows, length = queries['positions'].shape
  count = -(-length // size)

  def split(x):
    pad = [(0, 0), (0, count * size - length)] + [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, pad, mode='edge').reshape(rows, count, size, *x.shape[2:])
    return jnp.moveaxis(x, 1, 0)

  def join(x):
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape(rows, count * size, *x.shape[3:])[:, :length]

  out, lse = jax.lax.map(jax.checkpoint(block), jax.tree.map(split, queries))
  return join(out), join(lse)
