"""The cache of the decoder: its arrays, what a token is stored as, and its rows.

A row's tokens stand in two places. `given`: what was prefilled, at its position. `drawn`: what was
decoded, at the number of the step, the same for all rows and counted in a ring; `drawn_at` says
which position of its row an entry is. So a step writes one place of the whole cache, wherever its
rows are, and reads the blocks in use and no more.

Both are tuples of stacks of layers, each {name: blocks of tokens}, k [L', rows, KV, d, block] and
v [L', rows, KV, block, d]; as int8, with k_scale and v_scale [L', rows, KV, block], one for each
token and head. On request the stacks of layers with experts hold routing [L', rows, 1, block,
experts_per_token] besides: what was chosen for a token. The layers of a stack are scanned; on a
CPU, where a scan copies what it reads of the cache, each layer is a stack.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rljax import trips
from rljax.models.config import DecoderConfig
from rljax.models.layers import wide
from rljax.models.parameters import runs
from rljax.sharding import ROWS, constrain

Array = jax.Array
PyTree = Any

TOKEN_AXIS = {'k': 4, 'v': 3, 'k_scale': 3, 'v_scale': 3, 'routing': 3}  # of the arrays above
MOST_BLOCKS, LEAST_BLOCK = 8, 64  # of a region; tokens
UNROLLED = 8  # layers: with more, compiling them one by one costs more than the copies


def init_cache(
  config: DecoderConfig,
  num_rows: int,
  given: int,
  drawn: int = 0,
  dtype: str | None = None,
  routing: bool = False,
) -> PyTree:
  """See `Policy.init_cache`."""
  apart = config.unroll_decode
  if apart is None:
    apart = jax.default_backend() == 'cpu' and config.num_layers <= UNROLLED
  parts = [range(n, n + 1) for n in range(config.num_layers)] if apart else runs(config)
  dtype = jnp.dtype(dtype or config.compute_dtype)
  names = ('k', 'v', 'k_scale', 'v_scale') if dtype == jnp.int8 else ('k', 'v')

  def block(name, size, depth):
    if name == 'routing':
      shape = (depth, num_rows, 1, size, config.experts_per_token)
      return over_mesh(jnp.full(shape, -1, jnp.int16))
    shape = [depth, num_rows, config.num_kv_heads, size]
    if not name.endswith('scale'):
      shape.insert(7 - TOKEN_AXIS[name], config.head_dim)
    kind = wide(config.compute_dtype) if name.endswith('scale') else dtype
    return over_mesh(jnp.zeros(shape, kind))

  def stack(part, length):
    held = (*names, 'routing') if routing and part[0] in config.sparse_layers else names
    sizes = _block_sizes(length)
    return {name: tuple(block(name, size, len(part)) for size in sizes) for name in held}

  def region(length):
    return tuple(stack(part, length) for part in parts)

  return {
    'given': region(given),
    'drawn': region(drawn),
    'given_length': jnp.zeros(num_rows, jnp.int32),
    'drawn_at': jnp.full((num_rows, drawn), -1, jnp.int32),
    'step': jnp.zeros((), jnp.int32),
  }


def _block_sizes(length: int) -> list[int]:
  """Tokens of each block of a region: equal but for the last."""
  size = max(1, -(-length // (MOST_BLOCKS * LEAST_BLOCK))) * LEAST_BLOCK
  return [min(size, length - start) for start in range(0, length, size)]


def over_mesh(x: Array) -> Array:
  """An array of the cache over the mesh."""
  return constrain(x, None, ROWS, 'tensor', *(None,) * (x.ndim - 3))


# -- what a token is stored as


def as_rows(name: str, blocks: tuple[Array, ...]) -> Array:
  """The blocks of one layer as [rows, length, KV, …]."""
  axis = TOKEN_AXIS[name] - 1
  return jnp.moveaxis(jnp.concatenate(blocks, axis=axis), axis, 1)


def as_blocks(name: str, whole: Array, like: tuple[Array, ...]) -> tuple[Array, ...]:
  """The inverse of `as_rows`, with the sizes of other blocks."""
  axis = TOKEN_AXIS[name] - 1
  ends = [sum(x.shape[axis] for x in like[:i]) for i in range(1, len(like))]
  return tuple(jnp.split(jnp.moveaxis(whole, 1, axis), ends, axis=axis))


def as_block(fields: dict[str, Array]) -> dict[str, Array]:
  """A few tokens of one layer [rows, Q, KV, …], as `stored` has them, as a block."""
  return {name: jnp.moveaxis(x, 1, TOKEN_AXIS[name] - 1) for name, x in fields.items()}


def stored(k: Array, v: Array, like: PyTree) -> dict[str, Array]:
  """Keys and values [..., KV, d] as the cache holds them."""
  if 'k_scale' not in like:
    return {'k': k.astype(like['k'][0].dtype), 'v': v.astype(like['v'][0].dtype)}
  out = {}
  for name, x in (('k', k), ('v', v)):
    x = x.astype(like[f'{name}_scale'][0].dtype)
    scale = jnp.max(jnp.abs(x), axis=-1) / 127
    steps = x / jnp.where(scale > 0, scale, 1)[..., None]
    out[name], out[f'{name}_scale'] = jnp.round(steps).astype(jnp.int8), scale
  return out


def noted(seen: dict[str, Array], like: PyTree) -> dict[str, Array]:
  """The choice of experts [..., k], where there is one and the cache holds it: [..., 1, k]."""
  return {name: x[..., None, :].astype(jnp.int16) for name, x in seen.items() if name in like}


def real(stored: dict[str, Array], name: str, dtype: Any) -> Array:
  """What `stored` stands for, [..., KV, d] in the compute dtype."""
  x = stored[name]
  if f'{name}_scale' in stored:
    x = x * stored[f'{name}_scale'][..., None]
  return x.astype(dtype)


def write(name: str, blocks: tuple[Array, ...], new: Array, place: Array) -> tuple[Array, ...]:
  """The blocks with `new` [L', R, KV, …] at one place of the ring, the same for all rows."""
  axis, first, out = TOKEN_AXIS[name], 0, []
  new = jnp.expand_dims(new, axis)
  for block in blocks:
    here = (place >= first) & (place < first + block.shape[axis])

    def write(_, block, first=first):
      start = [jnp.zeros((), jnp.int32)] * block.ndim
      start[axis] = place - first
      return lax.dynamic_update_slice(block, new, start)

    with trips.taken(1 / len(blocks)):
      block = lax.fori_loop(0, here.astype(jnp.int32), write, block)
    out.append(over_mesh(block))
    first += block.shape[axis]
  return tuple(out)


def write_at(
  name: str, blocks: tuple[Array, ...], new: Array, positions: Array, loop: bool | None = None
) -> tuple[Array, ...]:
  """The blocks with `new` [L', B, Q, KV, …] in the first B rows, row b from positions[b] on.

  Rows at −1 are left alone, and so is what stands behind the end.

  Args:
    loop: one row after the other and not in one scatter. None: on a TPU, where a scatter wants
      another layout and copies the cache.
  """
  loop = jax.default_backend() == 'tpu' if loop is None else loop
  first, out = 0, []
  for block in blocks:
    start = jnp.where(positions >= 0, positions - first, block.shape[TOKEN_AXIS[name]])
    out.append(over_mesh((_by_rows if loop else _by_scatter)(name, block, new, start)))
    first += block.shape[TOKEN_AXIS[name]]
  return tuple(out)


def _by_scatter(name: str, block: Array, new: Array, start: Array) -> Array:
  """One block with the tokens from place `start` [B] on, which may lie outside of it."""
  axis = TOKEN_AXIS[name]
  size, (num, width) = block.shape[axis], new.shape[1:3]
  place = start[:, None] + jnp.arange(width, dtype=jnp.int32)[None, :]
  index = [slice(None)] * block.ndim
  index[1] = jnp.arange(num, dtype=jnp.int32)[:, None]
  index[axis] = jnp.where(place >= 0, place, size)
  return block.at[tuple(index)].set(jnp.moveaxis(new, 0, 2), mode='drop')


def _by_rows(name: str, block: Array, new: Array, start: Array) -> Array:
  """`_by_scatter` as a loop over the rows that have tokens in this block."""
  axis = TOKEN_AXIS[name]
  size, width = block.shape[axis], new.shape[2]
  here = (start > -width) & (start < size)
  order = jnp.argsort(~here, stable=True)
  piece = min(width, size)
  new = jnp.moveaxis(new, 2, axis)

  def one(i, block):
    row = order[i]
    begin = jnp.clip(start[row], 0, size - piece)
    source = begin - start[row] + jnp.arange(piece, dtype=jnp.int32)  # of the row's new tokens
    fresh = ((source >= 0) & (source < width)).reshape(piece, *(1,) * (block.ndim - 1 - axis))
    place = [jnp.zeros((), jnp.int32)] * block.ndim
    place[1], place[axis] = row, begin
    shape = (block.shape[0], 1, *block.shape[2:axis], piece, *block.shape[axis + 1 :])
    old = lax.dynamic_slice(block, place, shape)
    mine = lax.dynamic_slice_in_dim(new, row, 1, axis=1)
    mine = jnp.take(mine, source, axis=axis, mode='clip')
    fresh = fresh.reshape((1,) * axis + fresh.shape)
    return lax.dynamic_update_slice(block, jnp.where(fresh, mine, old), place)

  with trips.taken(block.shape[1]):
    return lax.fori_loop(0, jnp.sum(here), one, block)


# -- rows


def take(cache: PyTree, rows: Array) -> PyTree:
  """See `Policy.take`."""

  def leaf(x):
    if x.ndim == 0:
      return x
    return x.at[rows].get(mode='clip') if x.ndim < 3 else over_mesh(x.at[:, rows].get(mode='clip'))

  return jax.tree.map(leaf, cache)


def put(cache: PyTree, rows: Array, other: PyTree, sources: Array | None = None) -> PyTree:
  """See `Policy.put`."""
  sources = jnp.arange(rows.shape[0], dtype=jnp.int32) if sources is None else sources
  return _copy(cache, rows, sources, other)


def copy(cache: PyTree, rows: Array, sources: Array) -> PyTree:
  """See `Policy.copy`."""
  return _copy(cache, rows, sources, None)


def _copy(cache: PyTree, rows: Array, sources: Array, other: PyTree | None) -> PyTree:
  """Rows from another cache, or from the same one; one after the other, in place."""
  num_rows = cache['given_length'].shape[0]
  used = (rows >= 0) & (rows < num_rows)
  order = jnp.argsort(~used, stable=True)
  rows, sources = rows[order], sources[order]
  regions = {'given': cache['given']}
  if other is None or other['drawn_at'].shape[1]:
    regions['drawn'] = cache['drawn']

  def one(i, regions):
    origin = regions if other is None else other

    def over(name, blocks, others):
      parts = [lax.dynamic_slice_in_dim(x, sources[i], 1, axis=1) for x in others]
      return _over_row(name, blocks, parts, rows[i])

    return {
      region: tuple(
        {name: over(name, stack[name], more[name]) for name in stack}
        for stack, more in zip(stacks, origin[region])
      )
      for region, stacks in regions.items()
    }

  with trips.taken(rows.shape[0]):
    regions = lax.fori_loop(0, jnp.sum(used), one, regions)
  told, rows = cache if other is None else other, jnp.where(used[order], rows, num_rows)
  drawn_at = told['drawn_at'][sources] if 'drawn' in regions else -1
  lengths = told['given_length'][sources]
  return {
    **cache,
    **jax.tree.map(over_mesh, regions),
    'given_length': cache['given_length'].at[rows].set(lengths, mode='drop'),
    'drawn_at': cache['drawn_at'].at[rows].set(drawn_at, mode='drop'),
  }


def _over_row(name: str, blocks: tuple[Array, ...], parts: list[Array], row: Array):
  """The blocks with one row from `parts`, which may hold fewer tokens in blocks of other sizes."""
  axis, out = TOKEN_AXIS[name], []
  if [x.shape[axis] for x in parts] != [x.shape[axis] for x in blocks]:
    new = jnp.concatenate(parts, axis=axis)
    ends = list(itertools.accumulate((x.shape[axis] for x in blocks), initial=0))
    parts = [
      lax.slice_in_dim(new, first, min(end, new.shape[axis]), axis=axis)
      for first, end in itertools.pairwise(ends)
      if first < new.shape[axis]
    ]
  for block, part in zip(blocks, parts):
    start = (0, row, *(0,) * (block.ndim - 2))
    out.append(lax.dynamic_update_slice(block, part, start))
  return tuple([*out, *blocks[len(parts) :]])
