"""Attention over rows whose slots lie on several devices: the mesh axis `sequence`.

Two ways. All-to-all: devices trade slots for heads, and each attends to whole rows with its share
of the heads. Ring: each keeps its queries, and keys and values go round, block by block.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rljax.models.row_attention import (
  Blocks,
  Way,
  cut,
  cut_ids,
  gather,
  join,
  nothing,
  pull,
  scatter,
  settle,
)

Array = jax.Array
AXIS = 'sequence'


def by_heads(attend: Callable[..., Any], q: Array, k: Array, v: Array) -> Any:
  """`attend(q, k, v)` on whole rows with the n-th part of the heads; inside a shard_map.

  Args:
    attend: [R, T, H/n, d], [R, T, KV/n, d] twice -> arrays [R, T, H/n, …].
    q: [R, T/n, H, d].
    k, v: [R, T/n, KV, d].

  Returns:
    Arrays [R, T/n, H, …].

  Source: Jacobs et al., DeepSpeed Ulysses, arXiv 2309.14509, section 3.
  Differs from the source: nothing.
  """
  trade = functools.partial(jax.lax.all_to_all, axis_name=AXIS, tiled=True)
  whole = (trade(x, split_axis=2, concat_axis=1) for x in (q, k, v))
  return jax.tree.map(lambda x: trade(x, split_axis=1, concat_axis=2), attend(*whole))


class _Ring(NamedTuple):
  """What is static: how it attends, devices of the ring, tokens of a block."""

  way: Way
  size: int
  query_block: int


def by_ring(
  way: Way, size: int, query_block: int, q: Array, k: Array, v: Array,
  segment_ids: Array, prefix_ids: Array | None, positions: Array,
) -> tuple[Array, Array]:  # fmt: skip
  """`attend_rows` of a device's slots to all slots of its rows; inside a shard_map.

  No device holds more keys than its own and those that pass. Pairs of blocks that cannot see each
  other are left out; slots stand in turn, so that of a single long sample the last device does
  most, and the others wait for it.

  Args:
    way: window, softcap and scale.
    size: devices n along the axis.
    query_block: tokens of a block, at most.
    q: [R, T/n, H, d].
    k, v: [R, T/n, KV, d].
    segment_ids, prefix_ids, positions: int32 [R, T/n], of the device's slots.

  Returns:
    (out [R, T/n, H, d], log-sum of the scores [R, T/n, H]), as `attend_rows`.

  Source: Liu et al., Ring attention, arXiv 2310.01889, algorithm 1.
  Differs from the source: grouped queries, segments, and pairs that see nothing cost nothing.
  """
  blocks = cut_ids(segment_ids, prefix_ids, positions, query_block)
  return _attend(_Ring(way, size, query_block), q, k, v, blocks)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(ring: _Ring, q: Array, k: Array, v: Array, blocks: Blocks) -> tuple[Array, Array]:
  return _forward(ring, q, k, v, blocks)[0]


def _forward(ring, q, k, v, blocks):
  queries, keys, values = (cut(x, k.shape[2], blocks) for x in (q, k, v))

  def visit(moving, running):
    keys, values, ids = moving
    seen = _with_keys(blocks, ids, ring.way.window)
    return gather(ring.way, queries, keys, values, seen, running, first=_count(blocks))

  def turn(carry, _):
    moving, running = carry
    return (_pass_on(ring, moving), visit(moving, running)), None

  start = ((keys, values, _ids(blocks)), nothing(queries))
  (moving, running), _ = jax.lax.scan(turn, start, length=ring.size - 1)
  out, lse = settle(visit(moving, running), q)
  return (out, lse), (q, k, v, blocks, out, lse)


def _backward(ring, saved, cotangents):
  q, k, v, blocks, out, lse = saved
  queries, keys, values = (cut(x, k.shape[2], blocks) for x in (q, k, v))
  pulled = pull(cotangents, out, lse, k.shape[2], blocks)

  def turn(carry, _):
    (keys, values, ids, d_keys, d_values), d_queries = carry
    d_queries, d_keys, d_values = scatter(
      ring.way, queries, keys, values, pulled, _with_keys(blocks, ids, ring.way.window),
      (d_queries, d_keys, d_values), first=_count(blocks),
    )  # fmt: skip
    return (_pass_on(ring, (keys, values, ids, d_keys, d_values)), d_queries), None

  zeros = [jnp.zeros(x.shape, lse.dtype) for x in (queries, keys, values)]
  start = ((keys, values, _ids(blocks), *zeros[1:]), zeros[0])
  # After the last turn keys and their gradients are at home again.
  ((_, _, _, d_k, d_v), d_q), _ = jax.lax.scan(turn, start, length=ring.size)
  grads = zip((d_q, d_k, d_v), (q, k, v))
  return (*(join(g.astype(x.dtype), x.shape) for g, x in grads), None)


_attend.defvjp(_forward, _backward)


def _pass_on(ring: _Ring, moving: Any) -> Any:
  """Each device's arrays to the next one."""
  return jax.lax.ppermute(moving, AXIS, [(i, (i + 1) % ring.size) for i in range(ring.size)])


def _count(blocks: Blocks) -> int:
  return blocks.positions.shape[0]


def _ids(blocks: Blocks) -> tuple[Array, Array]:
  """What goes round with the keys."""
  return blocks.positions, blocks.segment_ids


def _with_keys(blocks: Blocks, ids: tuple[Array, Array], window: int | None) -> Blocks:
  """The blocks of the queries, then those of the keys that are here, and the pairs to visit.

  Which pairs may see each other is read off the ends of each block: the masks do the rest.
  """
  positions, segment_ids = ids
  count = _count(blocks)
  number = jnp.arange(count**2, dtype=jnp.int32)
  pairs = jnp.stack([number // count, number % count], axis=1)
  used = jnp.any(_may_see(blocks, positions, segment_ids, window), axis=2).reshape(-1)
  return blocks._replace(  # of prefix_ids only the queries' are read
    positions=jnp.concatenate([blocks.positions, positions]),
    segment_ids=jnp.concatenate([blocks.segment_ids, segment_ids]),
    pairs=pairs[jnp.argsort(~used, stable=True)],
    count=jnp.sum(used, dtype=jnp.int32),
  )


def _may_see(blocks: Blocks, positions: Array, segment_ids: Array, window: Any) -> Array:
  """bool [n, n, R]: block i of the queries sees block j of the keys, or might by their ends."""
  key = segment_ids >= 0
  first, last = _ends(segment_ids, key)
  low, high = _ends(positions, key)
  own = blocks.segment_ids >= 0
  earliest, latest = _ends(blocks.positions, own)

  def meet(ids):
    begin, end = _ends(ids, ids >= 0)
    return (begin[:, None] <= last[None]) & (end[:, None] >= first[None])

  same = meet(blocks.segment_ids)
  if blocks.prefix_ids is not None:
    same |= meet(blocks.prefix_ids)
  may = same & (latest[:, None] >= low[None])
  return may if window is None else may & (earliest[:, None] - high[None] < window)


def _ends(x: Array, used: Array) -> tuple[Array, Array]:
  """(lowest, highest) [n, R] of the used entries of each block [n, R, B]; crossed where none is."""
  most = jnp.iinfo(jnp.int32).max // 2
  return (
    jnp.min(jnp.where(used, x, most), axis=-1),
    jnp.max(jnp.where(used, x, -most), axis=-1),
  )
