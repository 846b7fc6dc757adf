"""Where the parts of a run stand: roles by their rules, the sampler's copy, states on the host."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from rljax.rules import Rules
from rljax.sharding import MESH_AXES, ROWS, replicated, sample_shards

PyTree = Any
HOST = 'pinned_host'


def check_rules(rules: Rules, name: str) -> None:
  """Raises ValueError where a rule names no axis of a mesh.

  Args:
    rules: logical axis → mesh axes.
    name: of the rules, for messages.
  """
  for axis, target in rules.items():
    names = {target} if isinstance(target, str) else set(target or ())
    if unknown := sorted(names - {*MESH_AXES}):
      raise ValueError(
        f'{name}: {axis!r} stands on {unknown[0]!r}; the axes of a mesh are {", ".join(MESH_AXES)}'
      )


def check_mesh(mesh: Mesh, rules: Rules, name: str) -> None:
  """Raises ValueError where nothing stands on an axis of the mesh: its devices do the same."""
  used = {*ROWS}.union(*({t} if isinstance(t, str) else set(t or ()) for t in rules.values()))
  for axis, size in mesh.shape.items():
    if size > 1 and axis not in used:
      raise ValueError(
        f'{name}: nothing stands on the mesh axis {axis}={size}, its devices would all compute the '
        f'same; make it 1, or take rules that use it (rules.ep uses all)'
      )


def devices_of(text: str, what: str, there: Sequence[Any] | None = None) -> list[Any]:
  """The devices that a config names.

  Args:
    text: 'first:end' of them; '' = none.
    what: the knob, for messages.
    there: None = `jax.devices()`.

  Raises:
    ValueError: no such devices.
  """
  if not text:
    return []
  there = jax.devices() if there is None else there
  found = re.fullmatch(r'(\d+):(\d+)', text)
  first, end = map(int, found.groups()) if found else (0, 0)
  if not first < end <= len(there):
    raise ValueError(f'{what}: {text!r} is no range of devices within 0:{len(there)}')
  return there[first:end]


def sampling_mesh(
  mesh: Mesh, sizes: Mapping[str, int], devices: Sequence[Any] | None = None
) -> Mesh:
  """The mesh of the sampler: that of the training where all sizes are 0.

  Args:
    mesh: of the training.
    sizes: axis → devices; 0 = as in the training.
    devices: others than those of the training; None = the same, in the same order, so that one
      program moves weights from mesh to mesh.

  Raises:
    ValueError: the sizes do not multiply to the number of devices.
  """
  sizes = {axis: sizes.get(axis, 0) or mesh.shape[axis] for axis in MESH_AXES}
  flat = list(mesh.devices.flat) if devices is None else list(devices)
  if devices is None and sizes == dict(mesh.shape):
    return mesh
  shape = tuple(sizes.values())
  if np.prod(shape) != len(flat):
    told = ' × '.join(f'{axis}={size}' for axis, size in sizes.items())
    raise ValueError(f'sample_mesh: {told} does not fit {len(flat)} devices')
  kinds = (AxisType.Auto,) * len(MESH_AXES)
  return Mesh(np.array(flat, dtype=object).reshape(shape), MESH_AXES, axis_types=kinds)


def computed(function: Callable[..., PyTree], shardings: PyTree, *arguments: Any) -> PyTree:
  """`function(*arguments)`, made in its shardings: no device holds more than its part."""
  return jax.jit(function, out_shardings=shardings)(*arguments)


def without_rows(rules: Rules) -> Rules:
  """The rules of weights that sample: each shard of the rows needs all of them at each token."""
  out = {}
  for axis, target in rules.items():
    names = (target,) if isinstance(target, str) else tuple(target or ())
    out[axis] = tuple(name for name in names if name not in ROWS) or None
  return out


@dataclasses.dataclass(frozen=True)
class Mover:
  """Takes parameters from one layout to another.

  Attributes:
    program: casts, and moves what stays on the same devices.
    after: `NamedSharding` of each parameter.
    elsewhere: whether it stands on other devices.
  """

  program: Callable[[PyTree], PyTree]
  after: PyTree
  elsewhere: bool

  def __call__(self, params: PyTree) -> PyTree:
    moved = self.program(params)
    return jax.device_put(moved, self.after) if self.elsewhere else moved

  def outline(self, params: PyTree) -> PyTree:
    """The parameters where they come to stand, as shapes; nothing is computed."""
    return jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
      jax.eval_shape(self.program, params),
      self.after,
    )


def mover(
  before: PyTree, after: PyTree, cast: Callable[[PyTree], PyTree] | None = None
) -> Mover | None:
  """What moves parameters from one layout to another, in the compute dtype: one compiled program.

  Args:
    before, after: `NamedSharding` of each parameter. On other devices they are copied there, after
      the program has cast them.
    cast: `Policy.cast`.

  Returns:
    None where the layouts are equal: nothing is to be moved.
  """
  pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(after)))
  if all(a == b for a, b in pairs):
    return None
  same = all(list(a.mesh.devices.flat) == list(b.mesh.devices.flat) for a, b in pairs)

  def change(params):
    return params if cast is None else cast(params)

  program = jax.jit(change, out_shardings=after) if same else jax.jit(change)
  return Mover(program, after, elsewhere=not same)


def check_slots(slots: int, mesh: Mesh) -> None:
  """Raises ValueError where the shards of a sampler's mesh do not divide its slots."""
  shards = sample_shards(mesh)
  if slots % shards:
    raise ValueError(
      f'sampler.slots is {slots}: it must be a multiple of data × fsdp = {shards} of the mesh that '
      'samples, or 0 = all'
    )


# -- on the host


def check_host_memory(mesh: Mesh) -> None:
  """Raises ValueError where the devices cannot reach memory of their host."""
  device = mesh.devices.flat[0]
  kinds = [memory.kind for memory in device.addressable_memories()]
  if HOST not in kinds:
    raise ValueError(
      f'offload: {device.device_kind} has no {HOST} memory, only {", ".join(kinds)}'
    )


def on_host(shardings: PyTree) -> PyTree:
  """The shardings with the arrays in pinned memory of the host."""
  return jax.tree.map(lambda s: s.with_memory_kind(HOST), shardings)


def fetch(tree: PyTree) -> PyTree:
  """What stands on the host, on the devices; the rest as it is. Inside a compiled program."""
  device = jax.memory.Space.Device
  return jax.tree.map(lambda x: jax.device_put(x, device) if _is_on_host(x) else x, tree)


def put_back(tree: PyTree, like: PyTree) -> PyTree:
  """The inverse of `fetch`: what stands on the host in `like` goes there."""
  host = jax.memory.Space.Host
  return jax.tree.map(
    lambda x, old: jax.device_put(x, host) if _is_on_host(old) else x, tree, like
  )


def _is_on_host(x: Any) -> bool:
  return getattr(jax.typeof(x), 'memory_space', None) == jax.memory.Space.Host


# -- optimizer states


def moment_shardings(states: PyTree, params: PyTree, mesh: Mesh) -> PyTree:
  """The sharding of each array of optimizer states: that of the parameter that it belongs to.

  An array belongs to the parameter whose path ends its own, if the shapes are equal; all others
  are whole on each device.

  Args:
    states: arrays or shapes.
    params: arrays, or shapes with shardings, in their places.
    mesh: of the devices.
  """
  known = {
    jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(params)
  }

  def leaf(path, x):
    for start in range(len(path)):
      own = known.get(jax.tree_util.keystr(path[start:]))
      if own is not None and own.shape == x.shape:
        return own.sharding
    return replicated(mesh)

  return jax.tree_util.tree_map_with_path(leaf, states)
