"""Numbered pytrees in a folder: flat dicts of arrays with a table of shapes and dtypes.

The path of each leaf is its name. So the records of rljax and of optax may be any pytree, and a
checkpoint of another shape is refused with the leaf's path before anything is read.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
import types
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import files
from rljax.checkpoint.fingerprints import fingerprint
from rljax.checkpoint.records import CheckpointError, DamagedError

PyTree = Any


def _part(entry: Any) -> str:
  for attribute in ('key', 'name', 'idx'):
    if hasattr(entry, attribute):
      return str(getattr(entry, attribute)).replace('%', '%25').replace('/', '%2F')
  raise CheckpointError(f'a pytree with the unnamed entry {entry!r} cannot be stored')


def flatten(tree: PyTree) -> dict[str, Any]:
  """Path of the leaf, parts joined by '/', -> leaf."""
  flat = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
    name = '/'.join(_part(entry) for entry in path)
    if name in flat:
      raise CheckpointError(f'two leaves of the state are called {name}')
    flat[name] = leaf
  return flat


def nest(flat: Mapping[str, Any]) -> PyTree:
  """The inverse of `flatten` for nested dicts with names as keys."""
  nested: dict[str, Any] = {}
  for name, leaf in flat.items():
    *folders, last = [part.replace('%2F', '/').replace('%25', '%') for part in name.split('/')]
    place = nested
    for folder in folders:
      place = place.setdefault(folder, {})
    place[last] = leaf
  return nested


def _is_key(leaf: Any) -> bool:
  return hasattr(leaf, 'dtype') and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def table_of(flat: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
  """Shape and dtype of each leaf; the implementation of keys that exist."""
  table = {}
  for name, leaf in flat.items():
    dtype = leaf.dtype if hasattr(leaf, 'dtype') else np.asarray(leaf).dtype
    table[name] = {'shape': list(np.shape(leaf)), 'dtype': str(dtype)}
    if _is_key(leaf) and isinstance(leaf, jax.Array):
      table[name]['impl'] = str(jax.random.key_impl(leaf))
  return table


def compare(
  saved: Mapping[str, Any], expected: Mapping[str, Any], where: str, *, any_dtype: bool = False
) -> None:
  """Refuses a checkpoint of another shape; one line, the first leaf that differs is named."""
  wrong = []
  for name, leaf in expected.items():
    if name not in saved:
      wrong.append(f'has no {name}, which is expected with shape {tuple(leaf["shape"])}')
    elif saved[name]['shape'] != leaf['shape']:
      shapes = tuple(saved[name]['shape']), tuple(leaf['shape'])
      wrong.append(f'{name} has shape {shapes[0]} on disk, expected is {shapes[1]}')
    elif saved[name]['dtype'] != leaf['dtype'] and not any_dtype:
      wrong.append(f'{name} is {saved[name]["dtype"]} on disk, expected is {leaf["dtype"]}')
  wrong += [f'holds {name}, which is not expected' for name in saved if name not in expected]
  if wrong:
    rest = f' (and {len(wrong) - 1} more leaves differ)' if len(wrong) > 1 else ''
    raise CheckpointError(f'checkpoint {where}: {wrong[0]}{rest}')


def _is_placed(example: Any) -> bool:
  """True if the leaf belongs to certain devices; else jit may move it, and that is to stay so."""
  if isinstance(example, jax.Array):
    return example.committed
  return getattr(example, 'sharding', None) is not None


def _finish(value: Any, example: Any, impl: str | None) -> Any:
  """A restored array as the kind of leaf that the example is."""
  if isinstance(example, bool | int | float):
    return type(example)(value.item())
  if isinstance(example, np.ndarray | np.generic):
    return np.asarray(value)
  if not isinstance(value, jax.Array):
    value = jnp.asarray(value, dtype=None if impl else example.dtype)
  return jax.random.wrap_key_data(value, impl=impl) if impl else value


class _Kept:
  """Which checkpoints stay: the latest ones, and those that something else needs.

  It has the method that orbax asks of a preservation policy.
  """

  def __init__(self, keep: int | None, pinned: Collection[int]):
    self.keep, self.pinned = keep, pinned

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    first = 0 if self.keep is None else len(checkpoints) - self.keep
    return [i >= first or one.step in self.pinned for i, one in enumerate(checkpoints)]


class Store:
  """Numbered flat dicts with their tables in one folder.

  Args:
    directory: where.
    keep: how many of the latest stay; None = all.
    pinned: others that stay; it may grow.
    read_only: nothing is made, written or cleaned up.
  """

  def __init__(
    self,
    directory: Any,
    *,
    keep: int | None = None,
    pinned: Collection[int] = (),
    read_only: bool = False,
  ):
    import orbax.checkpoint as ocp  # not at the top: it takes most of a second

    _steady()
    self._ocp = ocp
    self.directory = directory
    options = ocp.CheckpointManagerOptions(
      preservation_policy=_Kept(keep, pinned),
      create=not read_only,
      save_root_metadata=not read_only,
      cleanup_tmp_directories=not read_only,  # what a kill during a save left behind
    )
    try:
      self.manager = ocp.CheckpointManager(directory, options=options)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
      raise CheckpointError(
        f'{directory}: of a checkpoint there the file _CHECKPOINT_METADATA is not what was written '
        f'({" ".join(str(error).split())[:200]}); a checkpoint can be read without this file'
      ) from error

  def save(self, step: int, tree: PyTree, record: Mapping[str, Any]) -> bool:
    """Starts to write; returns when the arrays are copied. False if the step is there already."""
    if step in self.manager.all_steps():
      return False
    flat = flatten(tree)
    arrays = {
      name: jax.random.key_data(leaf) if _is_key(leaf) else leaf
      for name, leaf in flat.items()
      if np.size(leaf)  # orbax refuses empty arrays
    }
    table = table_of(flat)
    for name, leaf in arrays.items():
      if hasattr(leaf, 'dtype'):
        table[name]['sum'] = fingerprint(leaf)
    record = {**record, 'leaves': table}
    args = self._ocp.args
    return self.manager.save(
      step,
      args=args.Composite(
        state=args.PyTreeSave(arrays), host=args.JsonSave({**record, 'sum': _sum(record)})
      ),
      force=True,  # a role's version may be older than the newest
    )

  def record(self, step: int) -> dict[str, Any]:
    """The JSON that stands beside the arrays, and under 'leaves' the table of shapes.

    Raises:
      DamagedError: it is not what was written.
    """
    args = self._ocp.args
    with self._reading(step):
      record = self.manager.restore(step, args=args.Composite(host=args.JsonRestore())).host
      expected = record.pop('sum', None)  # older checkpoints have none
    if expected not in (None, _sum(record)) or not _has_table(record):
      raise DamagedError(f'checkpoint {self._place(step)}: the record is not what was written')
    return record

  def arrays(
    self, step: int, examples: Mapping[str, Any], table: Mapping[str, Any]
  ) -> dict[str, Any]:
    """The leaves named by `examples`; None as example: a numpy array.

    Raises:
      DamagedError: one is not what was written.
    """
    ocp, targets, how = self._ocp, {}, {}
    for name, example in examples.items():
      if math.prod(table[name]['shape']) == 0:
        continue
      targets[name] = 0
      if _is_placed(example):
        dtype = None if _is_key(example) else example.dtype
        how[name] = ocp.ArrayRestoreArgs(sharding=example.sharding, dtype=dtype)
      else:
        how[name] = ocp.RestoreArgs(restore_type=np.ndarray)
    args = ocp.args
    restore = args.PyTreeRestore(targets, restore_args=how, partial_restore=True)
    with self._reading(step):
      values = self.manager.restore(step, args=args.Composite(state=restore)).state
    for name, value in values.items():
      if not hasattr(value, 'dtype'):  # orbax has found no such array
        raise DamagedError(f'checkpoint {self._place(step)}: {name} is not there')
      expected, kept = table[name].get('sum'), str(value.dtype) == table[name]['dtype']
      if expected is not None and (kept or 'impl' in table[name]):
        if fingerprint(value) != expected:
          raise DamagedError(f'checkpoint {self._place(step)}: {name} is not what was written')
    for name in examples.keys() - values.keys():
      values[name] = np.zeros(table[name]['shape'], jnp.dtype(table[name]['dtype']))
    for name, example in examples.items():
      if example is not None:
        values[name] = _finish(values[name], example, table[name].get('impl'))
    return values

  def restore(self, step: int, example: PyTree, table: Mapping[str, Any]) -> PyTree:
    """The pytree of `step`, structured and placed like `example`."""
    flat = flatten(example)
    compare(table, table_of(flat), self._place(step))
    values = self.arrays(step, flat, table)
    return jax.tree.unflatten(jax.tree.structure(example), [values[name] for name in flat])

  def _place(self, step: int) -> str:
    return os.fspath(self.directory / str(step))

  @contextlib.contextmanager
  def _reading(self, step: int) -> Iterator[None]:
    """What orbax says of files that it cannot read, as damage; of a network it may be anything."""
    try:
      yield
    except Exception as error:  # orbax raises this very type, among others
      of_machine = (OSError, MemoryError, jax.errors.JaxRuntimeError)
      gone = isinstance(error, FileNotFoundError)
      if files.is_remote(self.directory) or (isinstance(error, of_machine) and not gone):
        raise
      why = ' '.join(str(error).split())[:200]
      raise DamagedError(f'checkpoint {self._place(step)} cannot be read: {why}') from error


def _has_table(record: Mapping[str, Any]) -> bool:
  table = record.get('leaves')
  return isinstance(table, dict) and all(
    isinstance(leaf, dict) and {'shape', 'dtype'} <= leaf.keys() for leaf in table.values()
  )


def _sum(record: Mapping[str, Any]) -> int:
  return zlib.crc32(json.dumps(record, sort_keys=True).encode())


def _steady() -> None:
  """Lets orbax measure its limits of time by a clock that never jumps.

  By the wall clock a jump while a checkpoint is written is a limit that was exceeded. There is no
  public way to say so, and another version may have other places.
  """
  with contextlib.suppress(ImportError):
    from orbax.checkpoint._src.futures import future, signaling_client

    clock = types.SimpleNamespace(**{**vars(time), 'time': time.monotonic})
    future.time = signaling_client.time = clock
