"""What a run says when a device has no memory left: what stands there, what makes it smaller."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax

MIB = 1024 * 1024
KNOBS = (
  '--config.{stage}.rows={rows} (rows of a micro-batch; now {old_rows})',
  "--config.model.remat=full (recompute in the backward pass; now '{remat}')",
  '--config.{stage}.sampler.slots={slots} (completions that are decoded at once; now {old_slots})',
)


class OutOfMemoryError(RuntimeError):
  """A device has no memory left; the message has a table of what stands there and three knobs."""


@contextlib.contextmanager
def explained(config: Any) -> Iterator[dict[str, Any]]:
  """Turns the error of a device without memory into one that says what to do.

  Args:
    config: resolved, of the run.

  Yields:
    a dict to be filled: what stands on the devices, by kind, as pytrees of arrays.

  Raises:
    OutOfMemoryError: a program, or what it was given, did not fit.
  """
  held: dict[str, Any] = {}
  try:
    yield held
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    raise OutOfMemoryError(message(config, held, str(error))) from error


def message(config: Any, held: Mapping[str, Any], said: str) -> str:
  """The table of memory by kind, and the knobs.

  Args:
    config: resolved, of the run.
    held: pytrees of arrays by kind; those that an update was given count too, since what it gives
      back takes their place.
    said: by the device.
  """
  sizes = {kind: _bytes(tree) for kind, tree in held.items()}
  sizes['other arrays'] = max(0, _bytes(jax.live_arrays()) - sum(sizes.values()))
  rows = [f'  {kind:14} {size / MIB:10,.1f} MiB' for kind, size in sizes.items() if size]
  rows += [f'  {kind:14} {size / MIB:10,.1f} MiB' for kind, size in _device().items()]
  first = said.split('\n')[0]
  lines = ['out of memory on the device: ' + first, 'arrays on its fullest device, by kind:', *rows]
  return '\n'.join([*lines, 'knobs, one after the other:', *(f'  {k}' for k in knobs(config))])


def knobs(config: Any) -> list[str]:
  """What makes a run smaller, with values for its last stage, the most useful first.

  Args:
    config: resolved.
  """
  stage = config.stages[-1]
  node = config[stage]
  slots = (node.get('sampler') or {}).get('slots', 0) or node.get('prompts', 0) * node.get(
    'samples', 0
  )
  values = dict(
    stage=stage,
    rows=max(1, node.rows // 2),
    old_rows=node.rows,
    remat=config.model.get('remat', 'none'),
    slots=max(1, slots // 2),
    old_slots=slots,
  )
  return [knob.format(**values) for knob in KNOBS]


def _bytes(tree: Any) -> int:
  """What the arrays of a pytree take on the device that holds most of them."""
  devices: dict[Any, int] = {}
  for x in jax.tree.leaves(tree):
    if isinstance(x, jax.Array):
      size = math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
      for device in x.sharding.addressable_devices:
        devices[device] = devices.get(device, 0) + size
  return max(devices.values(), default=0)


def _device() -> dict[str, int]:
  """What the fullest device says of itself; {} where it says nothing (CPU)."""
  known = [stats for device in jax.local_devices() if (stats := device.memory_stats())]
  if not known:
    return {}
  worst = max(known, key=lambda stats: stats.get('bytes_in_use', 0))
  names = {'in use': 'bytes_in_use', 'highest': 'peak_bytes_in_use', 'there is': 'bytes_limit'}
  return {told: worst[name] for told, name in names.items() if name in worst}
