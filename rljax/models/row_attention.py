"""Attention within rows of training, by pairs of blocks: what no query of a block sees is left out.

Rows are packed, so most tokens see a small part of their row. A row is cut into blocks of slots;
the pairs (block of queries, block of keys) in which some query sees some key are visited one after
the other, with a running softmax. The backward pass visits them again: it keeps queries, keys and
values, the output, and the log-sum of each query's scores.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from rljax import trips

Array = jax.Array
# Full float32 products where the compute dtype is float32; bfloat16 products are not affected.
PRECISION = jax.lax.Precision.HIGHEST
MASKED = -1e30
FLOOR = -1e29  # of the running maximum: exp(MASKED − FLOOR) is 0
OUTPUT = 'attention'  # the name of what a checkpoint may keep


class Blocks(NamedTuple):
  """Rows cut into blocks of slots, and which of them see each other; the same for all layers.

  Attributes:
    positions, segment_ids, prefix_ids: int32 [n, R, B]; no prefix_ids: None.
    pairs: int32 [n², 2], blocks of queries and of keys; first those that are to be visited.
    count: int32 scalar, how many are; None: the first, which is the only one.
  """

  positions: Array
  segment_ids: Array
  prefix_ids: Array | None
  pairs: Array
  count: Array | None


class Way(NamedTuple):
  """What is static."""

  window: int | None
  softcap: float | None
  scale: float


def cut_rows(
  segment_ids: Array,
  prefix_ids: Array | None,
  positions: Array,
  *,
  window: int | None = None,
  query_block: int = 512,
) -> Blocks:
  """The blocks of rows: of `query_block` slots at most, all of one size.

  Args:
    segment_ids, prefix_ids, positions: int32 [R, T], as in `attention`.
    window: as in `attention`.
    query_block: tokens.
  """
  ids = cut_ids(segment_ids, prefix_ids, positions, query_block)
  count = ids.positions.shape[0]
  if count == 1:
    return ids
  numbers = jnp.arange(count**2, dtype=jnp.int32)
  pairs = jnp.stack([numbers // count, numbers % count], axis=1)
  used = jax.lax.map(lambda pair: jnp.any(sees(ids, pair[0], pair[1], window)), pairs)
  first = jnp.argsort(~used, stable=True)
  return ids._replace(pairs=pairs[first], count=jnp.sum(used, dtype=jnp.int32))


def cut_ids(
  segment_ids: Array, prefix_ids: Array | None, positions: Array, query_block: int
) -> Blocks:
  """`cut_rows` without the pairs: those of a single block."""
  rows, length = positions.shape
  count = -(-length // query_block)
  size = -(-length // count)

  def of_blocks(x, fill):
    x = jnp.pad(x, ((0, 0), (0, count * size - length)), constant_values=fill)
    return jnp.swapaxes(x.reshape(rows, count, size), 0, 1)

  return Blocks(
    positions=of_blocks(positions, 0),
    segment_ids=of_blocks(segment_ids, -1),
    prefix_ids=None if prefix_ids is None else of_blocks(prefix_ids, -1),
    pairs=jnp.zeros((1, 2), jnp.int32),
    count=None,
  )


def sees(blocks: Blocks, i: Array, j: Array, window: int | None) -> Array:
  """bool [R, B, B]: the queries of block i see the keys of block j. Padding sees nothing."""
  back = blocks.positions[i][:, :, None] - blocks.positions[j][:, None, :]
  own, key = blocks.segment_ids[i][:, :, None], blocks.segment_ids[j][:, None, :]
  same = own == key
  if blocks.prefix_ids is not None:
    same |= blocks.prefix_ids[i][:, :, None] == key
  seen = same & (back >= 0) & (own >= 0) & (key >= 0)
  return seen if window is None else seen & (back < window)


def attend_rows(
  q: Array,
  k: Array,
  v: Array,
  blocks: Blocks,
  *,
  window: int | None = None,
  softcap: float | None = None,
  scale: float,
) -> tuple[Array, Array]:
  """The training form of `attention` over rows that `cut_rows` has cut.

  Returns:
    (out [R, T, H, d] in q's dtype, log-sum of the scores [R, T, H], at least float32). A query
    that sees nothing gets 0 and MASKED.
  """
  return _attend(Way(window, softcap, scale), q, k, v, blocks)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(way: Way, q: Array, k: Array, v: Array, blocks: Blocks) -> tuple[Array, Array]:
  return _forward(way, q, k, v, blocks)[0]


def _forward(way, q, k, v, blocks):
  queries, keys, values = (cut(x, k.shape[2], blocks) for x in (q, k, v))
  out, lse = settle(gather(way, queries, keys, values, blocks, nothing(queries)), q)
  return (out, lse), (q, k, v, blocks, out, lse)


def nothing(queries: Array) -> tuple[Array, Array, Array]:
  """The running softmax before any key: (Σ weights·v, highest score, Σ weights)."""
  wide = jnp.promote_types(queries.dtype, jnp.float32)
  shape = queries.shape[:-1]
  return jnp.zeros(queries.shape, wide), jnp.full(shape, FLOOR, wide), jnp.zeros(shape, wide)


def gather(
  way: Way, queries: Array, keys: Array, values: Array, blocks: Blocks, running: tuple,
  first: int = 0,
) -> tuple[Array, Array, Array]:  # fmt: skip
  """The running softmax with the pairs of `blocks`.

  Args:
    queries, keys, values: as `cut` has them.
    running: as `nothing` has it.
    first: where among the ids of `blocks` those of the keys begin.
  """

  def visit(i, j, carry):
    out, top, total = carry
    scores, _ = _scores(way, queries[i], keys[j], blocks, i, j + first)
    high = jnp.maximum(top[i], jnp.max(scores, axis=-1))
    weights, fade = jnp.exp(scores - high[..., None]), jnp.exp(top[i] - high)
    more = _product('xy,yd->xd', weights.astype(values.dtype), values[j], out.dtype)
    out = _put(out, out[i] * fade[..., None] + more, i)
    total = _put(total, total[i] * fade + jnp.sum(weights, axis=-1), i)
    return out, _put(top, high, i), total

  return _visit_all(blocks, visit, running, way.window)


def settle(running: tuple[Array, Array, Array], q: Array) -> tuple[Array, Array]:
  """(out, log-sum of the scores) of a running softmax that has seen all keys."""
  out, top, total = running
  some = total > 0
  total = jnp.where(some, total, 1)
  out = join((out / total[..., None]).astype(q.dtype), q.shape)
  lse = join(jnp.where(some, top + jnp.log(total), MASKED)[..., None], (*q.shape[:3], 1))[..., 0]
  return checkpoint_name(out, OUTPUT), checkpoint_name(lse, OUTPUT)


def _backward(way, saved, cotangents):
  q, k, v, blocks, out, lse = saved
  queries, keys, values = (cut(x, k.shape[2], blocks) for x in (q, k, v))
  pulled = pull(cotangents, out, lse, k.shape[2], blocks)
  start = tuple(jnp.zeros(x.shape, lse.dtype) for x in (queries, keys, values))
  grads = scatter(way, queries, keys, values, pulled, blocks, start)
  return (*(join(g.astype(x.dtype), x.shape) for g, x in zip(grads, (q, k, v))), None)


def pull(
  cotangents: tuple[Array, Array], out: Array, lse: Array, kv_heads: int, blocks: Blocks
) -> tuple[Array, Array, Array]:
  """What the backward pass needs of each query: (d_out, what its weights' sum passes on, lse)."""
  d_out, d_lse = cotangents
  shared = jnp.sum(d_out.astype(lse.dtype) * out.astype(lse.dtype), axis=-1) - d_lse
  shared, lse = (cut(x[..., None], kv_heads, blocks) for x in (shared, jnp.maximum(lse, FLOOR)))
  return cut(d_out, kv_heads, blocks), shared, lse


def scatter(
  way: Way, queries: Array, keys: Array, values: Array, pulled: tuple, blocks: Blocks,
  grads: tuple, first: int = 0,
) -> tuple[Array, Array, Array]:  # fmt: skip
  """The gradients of (queries, keys, values) with what the pairs of `blocks` add to them.

  Args:
    pulled: see `pull`.
    grads: as `cut` has them, at least float32.
    queries, keys, values, blocks, first: as in `gather`.
  """
  d_outs, shared, lse = pulled
  wide = lse.dtype

  def visit(i, j, carry):
    d_q, d_k, d_v = carry
    scores, slope = _scores(way, queries[i], keys[j], blocks, i, j + first)
    weights = jnp.exp(scores - lse[i])
    d_weights = _product('xd,yd->xy', d_outs[i], values[j], wide)
    d_scores = (way.scale * weights * (d_weights - shared[i]) * slope).astype(queries.dtype)
    weights = weights.astype(d_outs.dtype)
    return (
      _put(d_q, d_q[i] + _product('xy,yd->xd', d_scores, keys[j], wide), i),
      _put(d_k, d_k[j] + _product('xy,xd->yd', d_scores, queries[i], wide), j),
      _put(d_v, d_v[j] + _product('xy,xd->yd', weights, d_outs[i], wide), j),
    )

  return _visit_all(blocks, visit, grads, way.window)


_attend.defvjp(_forward, _backward)


def _visit_all(blocks: Blocks, visit: Any, carry: Any, window: int | None) -> Any:
  """visit(i, j, carry) -> carry over the pairs of blocks."""
  if blocks.count is None:
    return visit(0, 0, carry)

  def step(number, carry):
    i, j = blocks.pairs[number]
    return visit(i, j, carry)

  count, size = math.isqrt(blocks.pairs.shape[0]), blocks.positions.shape[-1]
  back = count if window is None else min(count, -(-(window + size - 1) // size))
  with trips.taken(sum(count - i for i in range(back))):  # a row that is one sample
    return jax.lax.fori_loop(0, blocks.count, step, carry)


def _put(x: Array, part: Array, i: Array | int) -> Array:
  return jax.lax.dynamic_update_index_in_dim(x, part, i, 0)


def _product(spec: str, a: Array, b: Array, dtype: Any) -> Array:
  """A batched product over rows and key heads."""
  left, rest = spec.split(',')
  right, out = rest.split('->')
  return jnp.einsum(
    f'rk{left},rk{right}->rk{out}', a, b, precision=PRECISION, preferred_element_type=dtype
  )


def _scores(way: Way, q: Array, k: Array, blocks: Blocks, i: Any, j: Any) -> tuple[Array, Any]:
  """(scores [R, KV, G·B, B], MASKED where unseen; what softcap does to their derivative)."""
  scores, slope = way.scale * _product('xd,yd->xy', q, k, jnp.promote_types(q.dtype, 'float32')), 1
  if way.softcap is not None:
    bent = jnp.tanh(scores / way.softcap)
    scores, slope = way.softcap * bent, 1 - bent * bent
  seen = sees(blocks, i, j, way.window)[:, None, None]
  size = scores.shape[-1]
  grouped = scores.reshape(*scores.shape[:2], -1, size, size)
  return jnp.where(seen, grouped, MASKED).reshape(scores.shape), slope


def cut(x: Array, kv_heads: int, blocks: Blocks) -> Array:
  """[R, T, KV·G, d] -> [n, R, KV, G·B, d]: what goes together with one head of the keys."""
  count, rows, size = blocks.positions.shape
  x = jnp.pad(x, ((0, 0), (0, count * size - x.shape[1]), (0, 0), (0, 0)))
  x = x.reshape(rows, count, size, kv_heads, -1, x.shape[-1])
  return x.transpose(1, 0, 3, 4, 2, 5).reshape(count, rows, kv_heads, -1, x.shape[-1])


def join(x: Array, shape: tuple[int, ...]) -> Array:
  """The inverse of `cut`."""
  count, rows, kv_heads = x.shape[:3]
  groups = shape[2] // kv_heads
  x = x.reshape(count, rows, kv_heads, groups, -1, shape[3]).transpose(1, 0, 4, 2, 3, 5)
  return x.reshape(rows, -1, *shape[2:])[:, : shape[1]]
