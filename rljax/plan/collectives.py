"""What travels between the devices of a compiled program, and in which loops."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rljax.plan.instructions import size_of

if TYPE_CHECKING:
  from rljax.plan.hlo import Frame, Place, Program
  from rljax.plan.instructions import Array, Instruction

KINDS = ('all-gather', 'all-reduce', 'reduce-scatter', 'all-to-all', 'collective-permute')
Groups = tuple[tuple[int, ...], ...]
_MESH = (
  r"replica_groups=mesh\[([^\]]*)\]"
  r'(?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? ?\{([^}:]*)\}'
)


class Collective(NamedTuple):
  """One array that travels.

  Attributes:
    kind: of `KINDS`.
    shape: of the whole array of a group: what a gather gives, what a reduce-scatter starts from.
    dtype: as HLO names it: 'f32', 'bf16' …
    bytes: of that array.
    groups: the devices that exchange it, by their number in the mesh; of a permute: pairs.
    axes: of the mesh, along which the members of a group differ; () where no mesh is given.
    depth: loops around it.
    times: how often a run of the program does it.
    name: of the instruction.
    source: path of the operation in the traced program; '' where the compiler tells none.
  """

  kind: str
  shape: tuple[int, ...]
  dtype: str
  bytes: int
  groups: Groups
  axes: tuple[str, ...]
  depth: int
  times: float
  name: str
  source: str

  @property
  def size(self) -> int:
    """Elements of the array."""
    return math.prod(self.shape)


def collectives(
  program: Program, mesh_shape: Mapping[str, int] | None = None
) -> list[Collective]:
  """All collectives of a compiled program, each once for each place from which it is called.

  Args:
    program: see `hlo.Program`.
    mesh_shape: axis → devices, in the order of the mesh (`mesh.shape`), to name the axes.
  """
  found, seen = [], set()
  for place in program.walk():
    kind = place.instruction.op.removesuffix('-start')
    if kind not in KINDS:
      continue
    # A TPU overlaps a collective with work by fusing its parts with several pieces of that. Apart
    # from those, collectives may share a channel: all that stand in a shard_map do.
    key = (place.instruction.attribute('channel_id'), _loops(place.frame))
    if not (place.is_fused and key[0] and key in seen):
      found += _read(kind, place, dict(mesh_shape or {}))
    seen.add(key)
  return found


def _callers(frame: Frame) -> list[Instruction]:
  """The instructions that call a frame, innermost first."""
  out = []
  while frame.caller is not None:
    out.append(frame.caller)
    frame = frame.parent
  return out


def _loops(frame: Frame) -> tuple[str, ...]:
  return tuple(one.name for one in _callers(frame) if one.op != 'fusion')


def _read(kind: str, place: Place, mesh_shape: dict[str, int]) -> list[Collective]:
  one = place.instruction
  groups = _groups(one, math.prod(mesh_shape.values()))
  source = next((x.source for x in (one, *_callers(place.frame)) if x.source), '')
  arrays, scale = _results(kind, one), 1
  if kind == 'reduce-scatter':
    scale = len(groups[0])
  elif kind == 'all-reduce' and 'all-reduce-scatter' in place.computation:
    kind = 'reduce-scatter'  # of a TPU: the reduction and a slice of it, fused
  out = []
  for array in arrays:
    dtype, dims = array
    if scale > 1:
      axis = int(one.attribute('dimensions').strip('{}'))
      dims = tuple(n * scale if i == axis else n for i, n in enumerate(dims))
    out.append(
      Collective(
        kind=kind,
        shape=dims,
        dtype=dtype,
        bytes=int(size_of(array) * scale),
        groups=groups,
        axes=_axes(groups, mesh_shape),
        depth=place.depth,
        times=place.times,
        name=one.name,
        source=source,
      )
    )
  return out


def _results(kind: str, one: Instruction) -> tuple[Array, ...]:
  """What a collective gives; that of a start holds its operands too, and counters."""
  if not one.op.endswith('-start') or kind == 'all-reduce':
    return one.arrays
  count = len(one.operands)
  return one.arrays[count : 2 * count]


def _groups(one: Instruction, devices: int) -> Groups:
  """The groups of a collective in any of their notations; none told: all devices are one."""
  if one.op.startswith('collective-permute'):
    return _listed(_found(r'source_target_pairs=\{((?:\{[\d,]*\},?)*)\}', one)[0])
  if found := _found(_MESH, one):
    sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", found[0])}
    inner = re.findall(r"'(\w+)'", found[3])
    order = [n for n in sizes if n not in inner] + inner
    whole, turned = ([int(n) for n in (part or '').split(',') if n] for part in found[1:3])
    numbers = np.arange(math.prod(sizes.values()))
    if whole:
      numbers = numbers.reshape(whole).transpose(turned or range(len(whole)))
    turn = [list(sizes).index(name) for name in order]
    numbers = numbers.reshape(*sizes.values()).transpose(turn)
    return _rows(numbers, math.prod(sizes[name] for name in inner))
  if found := _found(r'replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', one):
    shape, whole, order = ([int(n) for n in (part or '').split(',') if n] for part in found)
    numbers = np.arange(math.prod(whole)).reshape(whole)
    return _rows(numbers.transpose(order or range(len(whole))), shape[-1])
  if found := _found(r'replica_groups=\{((?:\{[\d,]*\},?)+)\}', one):
    return _listed(found[0])
  if one.attribute('replica_groups') not in ('', '{}'):
    raise ValueError(f'{one.name}: a notation of replica_groups that is unknown: {one.text[:200]}')
  return (tuple(range(devices)),)


def _found(pattern: str, one: Instruction) -> tuple[str, ...]:
  found = re.search(pattern, one.text)
  return found.groups() if found else ()


def _rows(numbers: np.ndarray, size: int) -> Groups:
  return tuple(map(tuple, numbers.reshape(-1, size).tolist()))


def _listed(text: str) -> Groups:
  groups = re.findall(r'\{([\d,]*)\}', text)
  return tuple(tuple(int(n) for n in group.split(',') if n) for group in groups)


def _axes(groups: Groups, mesh_shape: dict[str, int]) -> tuple[str, ...]:
  """The axes of the mesh along which members of a group differ."""
  if not mesh_shape:
    return ()
  sizes = tuple(mesh_shape.values())
  differ = np.zeros(len(sizes), bool)
  for group in groups:
    places = np.stack(np.unravel_index(np.asarray(group), sizes), axis=1)
    differ |= (places != places[:1]).any(axis=0)
  return tuple(name for name, varies in zip(mesh_shape, differ) if varies)
