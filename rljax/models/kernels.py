"""What attention kernels stand on: Pallas, the platform that is compiled for, the shards of a mesh.

The kernels of `jax.experimental.pallas.ops` move between releases of jax; this is the only file
that imports them, and only when one is asked for.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import jax
from absl import logging
from jax.sharding import AxisType

Array = jax.Array

_INTERPRETED: ContextVar[bool] = ContextVar('interpreted', default=False)
# In turn: where kernels have lived.
_PLACES = ('jax.experimental.pallas.ops.tpu',)


def splash() -> Any:
  """jax's splash attention.

  Raises:
    ImportError: this jax has it at no known place.
  """
  return _kernel('splash_attention')


def _kernel(name: str) -> Any:
  for place in _PLACES:
    with contextlib.suppress(ModuleNotFoundError):
      return importlib.import_module(f'{place}.{name}')
  raise ImportError(f'jax {jax.__version__} has no {name} in {", ".join(_PLACES)}')


def pallas() -> tuple[Any, Any]:
  """(pallas, its TPU part)."""
  return (
    importlib.import_module('jax.experimental.pallas'),
    importlib.import_module('jax.experimental.pallas.tpu'),
  )


@contextlib.contextmanager
def interpreted() -> Iterator[None]:
  """TPU kernels that are traced inside are interpreted, so that they run on any platform."""
  token = _INTERPRETED.set(True)
  try:
    yield
  finally:
    _INTERPRETED.reset(token)


def interpreting() -> bool:
  """Whether `interpreted` is on."""
  return _INTERPRETED.get()


def platform() -> str:
  """'cpu', 'gpu' or 'tpu': of the mesh that the policy is on, else of the default backend.

  A mesh of devices that are only compiled for is a mesh like another. Without a mesh a program
  that is compiled for absent devices must name its kernels.
  """
  return mesh_platform() or _known(jax.default_backend())


def mesh_platform() -> str | None:
  """The platform of the mesh that the policy is on; None where it is on none."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return None if device is None else _known(device.platform)


def _known(platform: str) -> str:
  return 'gpu' if platform in ('cuda', 'rocm') else platform


@functools.cache
def say(message: str) -> None:
  """Logs the message, once in a process."""
  logging.warning('%s', message)


def axis_size(axis: str) -> int:
  """Devices along an axis of the mesh that no `shard_map` has divided yet; 1: there is none."""
  mesh = jax.sharding.get_abstract_mesh()
  return mesh.shape[axis] if axis in _automatic(mesh) else 1


def over_shards(
  body: Callable[..., Any], specs: Sequence[Any], out_spec: Any, *arguments: Any
) -> Any:
  """`body` on each device's part of the arguments, where the policy is on a mesh; else on all.

  XLA cannot divide a kernel over devices: what the specs do not divide, each device computes whole.

  Args:
    body: of arrays.
    specs: `PartitionSpec` of each argument, or a tree of them.
    out_spec: of the result.
    *arguments: arrays.
  """
  automatic = _automatic(jax.sharding.get_abstract_mesh())
  if not automatic:
    return body(*arguments)
  return jax.shard_map(
    body, in_specs=tuple(specs), out_specs=out_spec, axis_names=automatic, check_vma=False
  )(*arguments)


def _automatic(mesh: Any) -> set[str]:
  kinds = zip(mesh.axis_names, mesh.axis_types)
  return {name for name, kind in kinds if kind == AxisType.Auto}


def head_axis(*heads: int) -> str | None:
  """'tensor' where that axis divides all these numbers of heads, else None."""
  return None if any(n % axis_size('tensor') for n in heads) else 'tensor'

