"""The training form of `attention`: which implementation, and how it is divided over a mesh."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec

from rljax.models import kernels
from rljax.models.config import ATTENTION, SEQUENCE_ATTENTION
from rljax.models.cudnn import attend_cudnn, refuse_cudnn
from rljax.models.row_attention import Blocks, Way, attend_rows, cut_rows
from rljax.models.sequence import AXIS, by_heads, by_ring
from rljax.models.splash import attend_splash, refuse_splash
from rljax.sharding import BATCH_ROWS, activation_spec

Array = jax.Array
_PLATFORMS = {'splash': 'tpu', 'cudnn': 'gpu'}
_AUTO = {'tpu': 'splash'}


class Asked(NamedTuple):
  """What `attention` was asked for, in the training form, besides queries, keys and values."""

  segment_ids: Array
  prefix_ids: Array | None
  positions: Array
  window: int | None
  softcap: float | None
  scale: float
  query_block: int
  return_lse: bool


def attend_training(
  q: Array, k: Array, v: Array, asked: Asked, blocks: Blocks | None, *, implementation: str,
  sequence: str,
) -> Any:  # fmt: skip
  """See `attention`."""
  way = choose_sequence(sequence, q, k, asked)
  if way == 'ring' and implementation not in ('auto', 'xla'):
    raise ValueError(
      f"sequence_attention='ring' attends in blocks of its own, and attention={implementation!r} "
      f"is not asked; give attention='xla', or 'all_to_all' with heads that {AXIS} divides"
    )
  if way == 'ring':
    return _ring(q, k, v, asked)
  name = choose(implementation, q, asked)
  if name == 'xla' and blocks is None:
    ids = asked.segment_ids, asked.prefix_ids, asked.positions
    blocks = cut_rows(*ids, window=asked.window, query_block=asked.query_block)
  if way == 'none' and name == 'xla':
    return _rows(asked, q, k, v, blocks)
  heads = kernels.head_axis(q.shape[2], k.shape[2])
  over = activation_spec(q.shape, BATCH_ROWS, AXIS if way == 'all_to_all' else None, heads)
  rows = PartitionSpec(over[0])
  if name == 'xla':
    local, given = functools.partial(_rows, asked), blocks
    of_block = PartitionSpec(None, over[0])
    specs = Blocks(of_block, of_block, of_block, PartitionSpec(), PartitionSpec())
  else:
    local = functools.partial(_kernel, name, asked)
    given, specs = (asked.segment_ids, asked.prefix_ids, asked.positions), (rows,) * 3

  def body(q, k, v, given):
    if way == 'none':
      return local(q, k, v, given)
    return by_heads(lambda q, k, v: local(q, k, v, given), q, k, v)

  found = (over, PartitionSpec(*over[:3])) if asked.return_lse else over
  return kernels.over_shards(body, (over, over, over, specs), found, q, k, v, given)


# -- which


def choose(implementation: str, q: Array, asked: Asked) -> str:
  """The name of the implementation.

  'auto' is splash where the platform is a TPU, and XLA's elsewhere and for what splash refuses,
  which is logged once. cuDNN has to be asked for: its speed beside a mask is not known.

  Raises:
    ValueError: there is none of that name, or it cannot do what is asked.
  """
  if implementation not in ATTENTION:
    raise ValueError(f'attention={implementation!r} is none of {", ".join(ATTENTION)}')
  if implementation != 'auto':
    if why := _refusal(implementation, q, asked):
      raise ValueError(f'attention={implementation!r}: {why}')
    return implementation
  name = _AUTO.get(kernels.platform(), 'xla')
  if why := _refusal(name, q, asked):
    kernels.say(f"attention='auto' is 'xla' and not {name!r} here: {why}")
    return 'xla'
  return name


def _refusal(name: str, q: Array, asked: Asked) -> str | None:
  if name == 'xla':
    return None
  if asked.return_lse:
    return 'it gives no log-sum of the scores'
  wanted, found = _PLATFORMS[name], kernels.mesh_platform()
  if found not in (None, wanted) and not kernels.interpreting():
    return f'it runs on a {wanted}, and the mesh is of {found} devices'
  if name == 'splash':
    return refuse_splash(q, prefix_ids=asked.prefix_ids, window=asked.window)
  return refuse_cudnn(q, softcap=asked.softcap)


def choose_sequence(sequence: str, q: Array, k: Array, asked: Asked) -> str:
  """How slots on several devices are attended to; 'none' where they are not.

  'auto' is all-to-all where the mesh axis divides the key heads of a device, else the ring, and
  none where it does not divide the row.

  Raises:
    ValueError: there is none of that name, or the axis divides too little for it.
  """
  if sequence not in SEQUENCE_ATTENTION:
    raise ValueError(f'sequence_attention={sequence!r} is none of {", ".join(SEQUENCE_ATTENTION)}')
  size, length = kernels.axis_size(AXIS), q.shape[1]
  if size == 1 or sequence == 'none':
    return 'none'
  if length % size:
    if sequence == 'auto':
      return 'none'
    raise ValueError(f'a row of {length} slots is not divided by the mesh axis {AXIS}={size}')
  shards = kernels.axis_size('tensor') if kernels.head_axis(q.shape[2], k.shape[2]) else 1
  heads = k.shape[2] // shards
  if sequence == 'all_to_all' and heads % size:
    raise ValueError(
      f"sequence_attention='all_to_all': {heads} key heads of a device are not divided by the "
      f"mesh axis {AXIS}={size}; 'ring' needs no heads"
    )
  if sequence == 'auto':
    return 'ring' if heads % size else 'all_to_all'
  return sequence


# -- on one device's part


def _rows(asked: Asked, q: Array, k: Array, v: Array, blocks: Blocks) -> Any:
  out, lse = attend_rows(
    q, k, v, blocks, window=asked.window, softcap=asked.softcap, scale=asked.scale
  )
  return (out, lse) if asked.return_lse else out


def _kernel(name: str, asked: Asked, q: Array, k: Array, v: Array, ids: tuple) -> Array:
  segment_ids, prefix_ids, positions = ids
  how: dict[str, Any] = dict(window=asked.window, scale=asked.scale)
  attend: Callable[..., Array] = attend_splash
  if name == 'splash':
    how |= dict(softcap=asked.softcap, query_block=asked.query_block)
  else:
    attend, how = attend_cudnn, how | dict(prefix_ids=prefix_ids, positions=positions)
  return attend(q, k, v, segment_ids, **how)


def _ring(q: Array, k: Array, v: Array, asked: Asked) -> Any:
  heads = kernels.head_axis(q.shape[2], k.shape[2])
  over = activation_spec(q.shape, BATCH_ROWS, AXIS, heads)
  slots = PartitionSpec(*over[:2])
  way = Way(asked.window, asked.softcap, asked.scale)
  attend = functools.partial(by_ring, way, kernels.axis_size(AXIS), asked.query_block)
  ids = asked.segment_ids, asked.prefix_ids, asked.positions
  out, lse = kernels.over_shards(
    attend, (over,) * 3 + (slots,) * 3, (over, PartitionSpec(*over[:3])), q, k, v, *ids
  )
  return (out, lse) if asked.return_lse else out
