"""Meshes, and the rules that map logical axes of parameters and batches to mesh axes.

Mesh axes: `data` replicates parameters, `fsdp` shards parameters and rows, `tensor` shards heads,
MLP and vocabulary, `sequence` shards activations only, `expert` shards experts, and rows wherever
no expert is asked.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rljax.rules import Rules, ep
from rljax.structs import Policy

Array = jax.Array
PyTree = Any

MESH_AXES = ('data', 'fsdp', 'tensor', 'sequence', 'expert')
ROWS = ('data', 'fsdp')  # of samples: each shard has a cache, each host some of the shards
BATCH_ROWS = (*ROWS, 'expert')  # of micro-batches and activations

RULES: Rules = ep()

# Logical axes that shrink to the mesh axes that divide them instead of raising: the size of a
# vocabulary belongs to the tokenizer, and a small one costs little when it is replicated.
SHRINKING = ('vocab',)


def make_mesh(
  *,
  data: int = 1,
  fsdp: int = -1,
  tensor: int = 1,
  sequence: int = 1,
  expert: int = 1,
  devices: Sequence[Any] | None = None,
) -> Mesh:
  """A mesh with the axes of this module, all of them automatic (GSPMD).

  Args:
    data, fsdp, tensor, sequence, expert: devices along the axis; one of them may be −1: the rest.
    devices: None = all.

  Raises:
    ValueError: the sizes do not multiply to the number of devices.
  """
  devices = jax.devices() if devices is None else list(devices)
  sizes = dict(zip(MESH_AXES, (data, fsdp, tensor, sequence, expert)))
  free = [name for name, size in sizes.items() if size == -1]
  told = ' × '.join(f'{name}={size}' for name, size in sizes.items() if size != 1) or 'all axes 1'
  if len(free) > 1:
    raise ValueError(f'mesh: only one axis may be -1, not {" and ".join(free)}')
  if any(size < 1 and size != -1 for size in sizes.values()):
    raise ValueError(f'mesh: {told}: an axis is at least 1, or -1 for the rest')
  fixed = math.prod(size for size in sizes.values() if size != -1)
  if free:
    sizes[free[0]] = len(devices) // fixed
  if math.prod(sizes.values()) != len(devices):
    raise ValueError(f'mesh: {told} does not fit {len(devices)} devices')
  kinds, shape = (AxisType.Auto,) * len(MESH_AXES), tuple(sizes.values())
  try:
    return jax.make_mesh(shape, MESH_AXES, axis_types=kinds, devices=devices)
  except NotImplementedError:
    # An axis that is no product of edges of the slice, such as 8 of 16 × 16, takes a part of one.
    from jax.experimental import mesh_utils

    placed = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(placed, MESH_AXES, axis_types=kinds)


# -- parameters


def partition_spec(
  name: str, axes: Sequence[str | None], shape: Sequence[int], mesh: Mesh, rules: Rules = RULES
) -> PartitionSpec:
  """The sharding of one parameter.

  Args:
    name: of the parameter, for messages.
    axes: logical axis of each dimension, None = never sharded.
    shape: of the parameter.
    mesh: mesh axes that it lacks, and those of size 1, are left out.
    rules: logical axis → mesh axis, several, or None.

  Raises:
    ValueError: an axis has no rule, does not divide, or would use a mesh axis twice; the message
      names parameter and axis.
  """
  if len(axes) != len(shape):
    raise ValueError(f'{name}: {len(axes)} logical axes {axes} for the shape {tuple(shape)}')
  spec, used = [], set()
  for axis, size in zip(axes, shape):
    if axis is not None and axis not in rules:
      raise ValueError(f'{name}: there is no rule for the axis {axis!r}')
    target = None if axis is None else rules[axis]
    names = (target,) if isinstance(target, str) else tuple(target or ())
    names = tuple(n for n in names if mesh.shape.get(n, 1) > 1)
    while axis in SHRINKING and size % _size(names, mesh):
      names = names[:-1]
    if size % _size(names, mesh):
      raise ValueError(
        f'{name}: the axis {axis!r} has {size} entries, which {_told(names, mesh)} does not '
        f'divide; change the mesh, or the rule for {axis!r}'
      )
    if used & set(names):
      raise ValueError(f'{name}: the axis {axis!r} uses mesh axis {names} a second time')
    used |= set(names)
    spec.append(names if len(names) > 1 else names[0] if names else None)
  return PartitionSpec(*spec)


def _size(names: Sequence[str], mesh: Any) -> int:
  return math.prod(mesh.shape[n] for n in names)


def _told(names: Sequence[str], mesh: Mesh) -> str:
  return ' × '.join(f'{n}={mesh.shape[n]}' for n in names)


def param_shardings(axes: PyTree, shapes: PyTree, mesh: Mesh, rules: Rules = RULES) -> PyTree:
  """`NamedSharding` of each parameter.

  Args:
    axes: `Policy.axes`.
    shapes: the parameters, or their `jax.eval_shape`.
    mesh, rules: as in `partition_spec`.

  Raises:
    ValueError: as in `partition_spec`.
  """

  def leaf(path, leaf_axes, array):
    name = '/'.join(str(getattr(k, 'key', getattr(k, 'idx', k))) for k in path)
    return NamedSharding(mesh, partition_spec(name, leaf_axes, array.shape, mesh, rules))

  return jax.tree.map_with_path(leaf, axes, shapes, is_leaf=_is_axes)


def _is_axes(x: Any) -> bool:
  return isinstance(x, tuple) and all(a is None or isinstance(a, str) for a in x)


def policy_shardings(policy: Policy, mesh: Mesh, rules: Rules = RULES) -> PyTree:
  """`param_shardings` of a `Policy`; nothing is computed."""
  shapes = jax.eval_shape(policy.init, jax.random.key(0))
  return param_shardings(policy.axes, shapes, mesh, rules)


def init_params(policy: Policy, key: Array, mesh: Mesh, rules: Rules = RULES) -> PyTree:
  """`policy.init(key)`, made in its sharding: no device holds a whole parameter that is sharded.

  The values do not depend on the mesh.
  """
  return jax.jit(policy.init, out_shardings=policy_shardings(policy, mesh, rules))(key)


# -- activations


def on_mesh(policy: Policy, mesh: Mesh) -> Policy:
  """The policy with its activations kept on the mesh: rows over `BATCH_ROWS`, heads over tensor.

  Without it XLA is free to move activations to the layout of the weights, and under `fsdp` it does:
  every layer then sums activations of the whole batch over the devices instead of gathering its
  weights. The values are the same. Arguments on one device are left alone.
  """
  if mesh.size == 1:
    return policy

  def wrap(function):
    @functools.wraps(function)
    def inside(*args, **kwargs):
      if not jax.sharding.get_abstract_mesh().empty:  # inside a shard_map
        return function(*args, **kwargs)
      with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        return function(*args, **kwargs)

    return inside

  names = ('hidden', 'unembed', 'init_cache', 'prefill', 'decode', 'take', 'put', 'copy')
  return policy._replace(**{name: wrap(getattr(policy, name)) for name in names})


def constrain(x: Array, *axes: str | tuple[str, ...] | None) -> Array:
  """`x` with its dimensions over mesh axes, where the policy is `on_mesh`; else `x`.

  A dimension is divided by as many of its mesh axes, from the first on, as divide it; those that a
  `shard_map` has divided already are left out.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return x
  return jax.lax.with_sharding_constraint(x, activation_spec(x.shape, *axes))


def activation_spec(
  shape: Sequence[int], *axes: str | tuple[str, ...] | None
) -> PartitionSpec:
  """The sharding that `constrain` gives an array of this shape."""
  mesh = jax.sharding.get_abstract_mesh()
  automatic = [n for n, kind in zip(mesh.axis_names, mesh.axis_types) if kind == AxisType.Auto]
  spec = []
  for size, target in zip(shape, axes):
    names = (target,) if isinstance(target, str) else tuple(target or ())
    names = tuple(n for n in names if n in automatic and mesh.shape[n] > 1)
    while size % _size(names, mesh):
      names = names[:-1]
    spec.append(names or None)
  return PartitionSpec(*spec)


# -- batches


def row_divisor(mesh: Mesh) -> int:
  """What the number of rows of a micro-batch must be a multiple of: data × fsdp × expert."""
  return math.prod(mesh.shape.get(name, 1) for name in BATCH_ROWS)


def sample_shards(mesh: Mesh) -> int:
  """Shards of the rows of samples: data × fsdp."""
  return math.prod(mesh.shape.get(name, 1) for name in ROWS)


def row_sharding(mesh: Mesh) -> NamedSharding:
  """Of arrays [rows, ...]: the sampler's prompts and samples."""
  return NamedSharding(mesh, PartitionSpec(ROWS))


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Of the token arrays [K, M, r, T] of a `Batch`: over rows."""
  return NamedSharding(mesh, PartitionSpec(None, None, BATCH_ROWS, None))


def replicated(mesh: Mesh) -> NamedSharding:
  """Of sample and group arrays and scalars."""
  return NamedSharding(mesh, PartitionSpec())


def batch_shardings(batch: PyTree, mesh: Mesh) -> PyTree:
  """The sharding of each array of a `Batch`: four axes or more are of tokens, all else is whole.

  Raises:
    ValueError: the rows of a micro-batch are no multiple of data × fsdp × expert.
  """
  rows, whole, divisor = batch_sharding(mesh), replicated(mesh), row_divisor(mesh)

  def leaf(path, x):
    if np.ndim(x) < 4:
      return whole
    if np.shape(x)[2] % divisor:
      raise ValueError(
        f'batch{jax.tree_util.keystr(path)}: {np.shape(x)[2]} rows in a micro-batch are no '
        f'multiple of data × fsdp × expert = {divisor}'
      )
    return rows

  return jax.tree.map_with_path(leaf, batch)


def state_shardings(state: PyTree, mesh: Mesh) -> PyTree:
  """The sharding of each array of a `TrainState`: as it stands on the mesh, else replicated.

  Parameters, and the optimizer's moments with them, are on the mesh already.
  """

  def leaf(x):
    on_mesh = isinstance(x.sharding, NamedSharding) and x.sharding.mesh == mesh
    return x.sharding if on_mesh else replicated(mesh)

  return jax.tree.map(leaf, state)


def request_shardings(requests: PyTree, mesh: Mesh) -> PyTree:
  """The sharding of each array of `Requests`: prompts and samples over rows where they divide.

  An array whose rows are no multiple of data × fsdp is replicated: requests are small, and what the
  sampler makes of them may still be sharded.
  """
  rows, whole, divisor = row_sharding(mesh), replicated(mesh), sample_shards(mesh)

  def leaf(x):
    return rows if np.ndim(x) and np.shape(x)[0] % divisor == 0 else whole

  return jax.tree.map(leaf, requests)


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
  """The host's `Batch` on the devices of the mesh."""
  return jax.device_put(batch, batch_shardings(batch, mesh))
