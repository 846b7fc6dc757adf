"""Decoding against the cache by a TPU kernel: of each row it reads the blocks in use, no more.

Plain XLA reads a block of tokens for all rows as soon as one row uses it, and copies what it reads
out of the stack of layers. The kernel reads the stack where it is.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from rljax.models import kernels
from rljax.models.row_attention import FLOOR, MASKED, PRECISION
from rljax.sharding import ROWS, activation_spec

Array = jax.Array
PyTree = Any
NAMES = ('k', 'v', 'k_scale', 'v_scale')
# Of a TPU's memory beside its units, for the blocks of one step, which are there twice.
ROOM = 8 * 2**20


class _How(NamedTuple):
  """What is static."""

  names: tuple[str, ...]
  blocks: int
  scale: float
  softcap: float | None


def choose_for_cache(name: str, q: Array, stack: PyTree) -> str:
  """'xla' or 'ragged', which `DecoderConfig.cache_attention` means for this region of the cache.

  Raises:
    ValueError: ragged is asked for and cannot do it.
  """
  if name == 'xla' or (name == 'auto' and kernels.platform() != 'tpu'):
    return 'xla'
  if why := _refusal(q, stack):
    if name == 'auto':
      kernels.say(f"cache_attention='auto' is 'xla' and not 'ragged' here: {why}")
      return 'xla'
    raise ValueError(f"cache_attention='ragged': {why}")
  return 'ragged'


def _refusal(q: Array, stack: PyTree) -> str | None:
  found = kernels.mesh_platform()
  if found not in (None, 'tpu') and not kernels.interpreting():
    return f'it runs on a tpu, and the mesh is of {found} devices'
  if jnp.dtype(q.dtype).itemsize > 4:
    return f'it computes in float32 at most, not in {q.dtype}'
  if (most := max(_costs(stack), default=0)) > ROOM:
    return (
      f'a block of the cache takes {most / 2**20:.0f} MiB of the {ROOM / 2**20:.0f} of its memory; '
      'a cache has eight blocks at most, so that the context is too long'
    )
  return None


def add_region(
  q: Array,
  stack: PyTree,
  number: Array,
  seen: list[Array],
  running: tuple[Array, Array, Array],
  *,
  scale: float,
  softcap: float | None,
) -> tuple[Array, Array, Array]:
  """The running softmax of queries with one region of the cache.

  Args:
    q: float [R, KV, Q, G, d].
    stack: {name: blocks} of the region, see `cache`; its first R rows are read.
    number: int32 scalar, the layer within the stack.
    seen: of each block, bool [R, 1, Q or 1, 1, tokens]: what a query sees.
    running: (highest score, Σ weights, Σ weights·v): [R, KV, Q, G] twice, [R, KV, Q, G, d].
    scale, softcap: as in `attention`.

  Returns:
    `running` with the region.
  """
  for part in _parts(stack):
    blocks = {name: stack[name][part] for name in NAMES if name in stack}
    found = _over_mesh(q, blocks, number, seen[part], scale=scale, softcap=softcap)
    running = _merge(running, found)
  return running


def _costs(stack: PyTree) -> list[int]:
  """Bytes of each block's keys and values of a head, twice: one is read while one is used."""
  return [
    2 * sum(math.prod(x.shape[3:]) * x.dtype.itemsize for x in (k, v))
    for k, v in zip(stack['k'], stack['v'])
  ]


def _parts(stack: PyTree) -> list[slice]:
  """Blocks that are read by one kernel: as many as there is room for."""
  costs, parts, first = _costs(stack), [], 0
  for i in range(len(costs)):
    if sum(costs[first : i + 1]) > ROOM:
      parts.append(slice(first, i))
      first = i
  return [*parts, slice(first, len(costs))] if costs else []


def _merge(a: tuple[Array, Array, Array], b: tuple[Array, Array, Array]) -> tuple:
  """The running softmax of two sets of keys."""
  top = jnp.maximum(a[0], b[0])
  fade = [jnp.exp(x[0] - top) for x in (a, b)]
  total = a[1] * fade[0] + b[1] * fade[1]
  return top, total, a[2] * fade[0][..., None] + b[2] * fade[1][..., None]


def _over_mesh(q: Array, blocks: PyTree, number: Array, seen: list[Array], **asked: Any) -> tuple:
  """`_region` on each device's rows and key heads."""
  heads = kernels.head_axis(q.shape[1])
  rows = ROWS if q.shape[0] == blocks['k'][0].shape[1] else None
  over = activation_spec(q.shape[:2], rows, heads)
  of_stack = PartitionSpec(None, *over)
  specs = (over, of_stack, PartitionSpec(), PartitionSpec(over[0]))
  body = functools.partial(_region, **asked)
  return kernels.over_shards(body, specs, (over,) * 3, q, blocks, number, seen)


def _region(
  q: Array, blocks: PyTree, number: Array, seen: list[Array], *, scale: float,
  softcap: float | None,
) -> tuple[Array, Array, Array]:  # fmt: skip
  rows, kv_heads, new, groups, depth = q.shape
  wide = jnp.promote_types(q.dtype, jnp.float32)
  used = jnp.stack([jnp.any(x, axis=(1, 2, 3, 4)) for x in seen])
  # The row whose block is there while an unused one would be read: nothing is read then.
  last = jax.lax.cummax(jnp.where(used, jnp.arange(rows, dtype=jnp.int32), 0), axis=1)
  masks = [_of_queries(x, new, groups) for x in seen]
  pl, tpu = kernels.pallas()
  names = tuple(blocks)
  queries = q.reshape(rows, kv_heads, new * groups, depth)

  def of_row(shape):
    return pl.BlockSpec((None, None, *shape), lambda r, h, *_: (r, h, 0, 0))

  def of_mask(i):
    return pl.BlockSpec((None, *masks[i].shape[1:]), lambda r, h, *_: (r, 0, 0))

  def of_block(name, i):
    shape = blocks[name][i].shape

    def place(r, h, number, used, last):
      head = jnp.where(used[i, r] > 0, h, kv_heads - 1)
      if name.endswith('scale'):  # a tile has all heads
        return number[0], last[i, r], 0, 0
      return number[0], last[i, r], head, 0, 0

    whole = (None, None, *shape[2:]) if name.endswith('scale') else (None, None, None, *shape[3:])
    return pl.BlockSpec(whole, place)

  count = len(seen)
  shapes = [(new * groups, 1), (new * groups, 1), (new * groups, depth)]
  top, total, out = pl.pallas_call(
    functools.partial(_kernel, _How(names, count, scale, softcap)),
    grid_spec=tpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=3,
      grid=(rows, kv_heads),
      in_specs=[
        of_row(queries.shape[2:]),
        *(of_mask(i) for i in range(count)),
        *(of_block(name, i) for name in names for i in range(count)),
      ],
      out_specs=[of_row(shape) for shape in shapes],
    ),
    out_shape=[jax.ShapeDtypeStruct((rows, kv_heads, *shape), wide) for shape in shapes],
    cost_estimate=_cost(pl, q, [blocks[name][i] for name in names for i in range(count)]),
    interpret=kernels.interpreting(),
    name='ragged_decode',
  )(
    number.reshape(1), used.astype(jnp.int32), last, queries, *masks,
    *(x for name in names for x in blocks[name]),
  )  # fmt: skip
  shape = q.shape[:-1]
  return top.reshape(shape), total.reshape(shape), out.reshape(q.shape)


def _cost(pl: Any, q: Array, blocks: list[Array]) -> Any:
  """The kernel's work where every row uses every block: XLA and `rljax plan` see no other."""
  rows, kv_heads, new, groups, _ = q.shape
  elements = [rows * math.prod(x.shape[2:]) for x in blocks]  # of one layer
  return pl.CostEstimate(
    flops=2 * new * groups * sum(elements),
    bytes_accessed=sum(n * x.dtype.itemsize for n, x in zip(elements, blocks))
    + 2 * q.size * q.dtype.itemsize,
    transcendentals=rows * kv_heads * new * groups * sum(x.shape[-1] for x in blocks) // 2,
  )


def _of_queries(seen: Array, new: int, groups: int) -> Array:
  """int32 [R, 1 or Q·G, tokens]; a TPU has no masks of bits in its memory."""
  seen = seen[:, 0, :, 0].astype(jnp.int32)
  return seen if seen.shape[1] == 1 else jnp.repeat(seen, groups, axis=1)


def _kernel(how: _How, number, used, last, q, *refs) -> None:
  """One row and key head: the running softmax over the blocks that the row uses."""
  del number, last
  pl, _ = kernels.pallas()
  row, head = pl.program_id(0), pl.program_id(1)
  masks, stored, (top, total, out) = refs[: how.blocks], refs[how.blocks : -3], refs[-3:]
  top[...] = jnp.full(top.shape, FLOOR, top.dtype)
  total[...] = jnp.zeros(total.shape, total.dtype)
  out[...] = jnp.zeros(out.shape, out.dtype)
  precision = PRECISION if q.dtype == out.dtype else None  # of bfloat16 a TPU knows one alone
  dot = functools.partial(jnp.dot, precision=precision, preferred_element_type=out.dtype)

  for i in range(how.blocks):
    block = {name: stored[n * how.blocks + i] for n, name in enumerate(how.names)}

    @pl.when(used[i, row] > 0)
    def _(block=block, seen=masks[i]):
      scores = dot(q[...], block['k'][...].astype(q.dtype))
      if 'k_scale' in block:
        scores *= block['k_scale'][pl.ds(head, 1), :].astype(scores.dtype)
      scores *= how.scale
      if how.softcap is not None:
        scores = how.softcap * jnp.tanh(scores / how.softcap)
      scores = jnp.where(seen[...] > 0, scores, MASKED)
      high = jnp.maximum(top[...], jnp.max(scores, axis=1, keepdims=True))
      weights, fade = jnp.exp(scores - high), jnp.exp(top[...] - high)
      total[...] = total[...] * fade + jnp.sum(weights, axis=1, keepdims=True)
      if 'v_scale' in block:
        weights *= block['v_scale'][pl.ds(head, 1), :].astype(weights.dtype)
      more = dot(weights.astype(q.dtype), block['v'][...].astype(q.dtype))
      out[...] = out[...] * fade + more
      top[...] = high
