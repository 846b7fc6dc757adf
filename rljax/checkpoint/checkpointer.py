"""The checkpoints of a run. What stands in the folder:

state/<step>/              the train state and what host objects remember, the last `keep`
roles/<name>/<version>/    parameters of frozen roles, each version once
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from rljax import files
from rljax.checkpoint.records import CheckpointError, decode, encode
from rljax.checkpoint.store import Store, compare, flatten, nest, table_of

PyTree = Any
NAME = re.compile(r'[A-Za-z0-9_][\w.-]*')
FOLDER = 'checkpoints'  # within a work directory


class Checkpointer:
  """Saves and restores train states, what the host remembers, and frozen roles.

  Args:
    directory: local or `gs://`; made if it is not there.
    keep: number of states that are kept.
    pinned: steps of further states that are kept.
    read_only: nothing is made, written or cleaned up (another run may be at work there).
  """

  def __init__(
    self,
    directory: files.PathLike,
    *,
    keep: int = 2,
    pinned: Iterable[int] = (),
    read_only: bool = False,
  ):
    path = files.as_path(directory)
    self.directory = path if files.is_remote(directory) else path.absolute()
    self.read_only = read_only
    if read_only and not (self.directory / 'state').exists():
      raise CheckpointError(f'there is no checkpoint in {directory}')
    self._pinned = set(pinned)
    self._states = Store(
      self.directory / 'state', keep=keep, pinned=self._pinned, read_only=read_only
    )
    self._roles: dict[str, Store] = {}

  # -- states

  def save(
    self, step: int, state: PyTree, host: Any, *, roles: Mapping[str, int] | None = None
  ) -> bool:
    """Saves under the number `step`; returns when the state is copied, writes go on behind.

    Args:
      step: number of the checkpoint, grows along the run.
      state: pytree of arrays, PRNG keys, Python numbers; its buffers may be donated afterwards.
      host: JSON's types, tuples, bytes, small numpy arrays (`encode`).
      roles: name -> version of the frozen roles that a run from here needs; they are saved before.

    Returns:
      False if there is a checkpoint of this step already, which stays as it is.
    """
    roles = dict(roles or {})
    for name, version in roles.items():
      if version not in self._role(name).manager.all_steps():
        raise CheckpointError(f'checkpoint {step} needs role {name}, version {version}: not saved')
    saved = self._states.save(step, state, {'host': encode(host), 'roles': roles})
    self._prune(roles)
    return saved

  def restore(self, example: PyTree, step: int | None = None) -> tuple[PyTree, Any]:
    """The state and the host record of `step` (the latest by default).

    Args:
      example: pytree of arrays or `jax.ShapeDtypeStruct`s; gives structure, shapes and shardings
        (a leaf without one, or not committed to its device, is restored uncommitted).

    Raises:
      CheckpointError: no such checkpoint; or leaves differ: path, shape on disk, expected shape.
    """
    step = self._step(step)
    record = self._states.record(step)
    return self._states.restore(step, example, record['leaves']), decode(record['host'])

  def roles(self, step: int | None = None) -> dict[str, int]:
    """Name -> version of the frozen roles that the checkpoint needs."""
    return self._states.record(self._step(step))['roles']

  def host(self, step: int | None = None) -> Any:
    """The host record alone."""
    return decode(self._states.record(self._step(step))['host'])

  def pin(self, step: int) -> None:
    """Keeps the checkpoint, however many follow."""
    self._pinned.add(step)

  def latest(self) -> int | None:
    """The newest step, or None."""
    return self._states.manager.latest_step()

  def steps(self) -> list[int]:
    """All steps, ascending."""
    return sorted(self._states.manager.all_steps())

  def load_params(self, role: str, *, step: int | None = None, example: PyTree = None) -> PyTree:
    """The parameters of one role; see the function `load_params`."""
    step, prefix, store = self._step(step), f'params/{role}/', self._states
    record = store.record(step)
    saved, kept = record['leaves'], record['roles']
    if role in kept:  # the last stage has not trained it
      step, prefix, store = kept[role], '', self._role(role)
      saved = store.record(step)['leaves']
    table = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
    if not table:
      roles = sorted({k.split('/')[1] for k in saved if k.startswith('params/')} | {*kept})
      raise CheckpointError(f'{self.directory} has no role {role!r}; there is {", ".join(roles)}')
    flat = dict.fromkeys(table) if example is None else flatten(example)
    if example is not None:
      compare(table, table_of(flat), f'{self.directory}, role {role}', any_dtype=True)
    examples = {prefix + name: leaf for name, leaf in flat.items()}
    values = store.arrays(step, examples, {prefix + k: v for k, v in table.items()})
    if example is None:
      return nest({name: values[prefix + name] for name in flat})
    return jax.tree.unflatten(jax.tree.structure(example), [values[prefix + n] for n in flat])

  # -- frozen roles

  def save_role(self, name: str, version: int, params: PyTree) -> bool:
    """Saves the parameters of a frozen role, whole when it returns; each version once."""
    self.wait()  # processes that write two things at once meet at one barrier and fail
    store = self._role(name)
    saved = store.save(version, params, {})
    store.manager.wait_until_finished()
    return saved

  def restore_role(self, name: str, version: int, example: PyTree) -> PyTree:
    """The parameters of a frozen role, placed as the leaves of `example` are."""
    store = self._role(name)
    if version not in store.manager.all_steps():
      raise CheckpointError(f'{self.directory} has no version {version} of the role {name}')
    return store.restore(version, example, store.record(version)['leaves'])

  # --

  def wait(self) -> None:
    """Returns when all saves are on disk; raises what went wrong with them."""
    self._states.manager.wait_until_finished()

  def close(self) -> None:
    """Waits, then lets go of the folder."""
    for store in (self._states, *self._roles.values()):
      store.manager.wait_until_finished()
      store.manager.close()

  def __enter__(self) -> Checkpointer:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _step(self, step: int | None) -> int:
    found = self.latest() if step is None else step
    if found is None or found not in self._states.manager.all_steps():
      number = '' if step is None else f' {step}'
      raise CheckpointError(f'there is no checkpoint{number} in {self.directory}')
    return found

  def _role(self, name: str) -> Store:
    if name not in self._roles:
      if not NAME.fullmatch(name):  # a record that has been tampered with
        raise CheckpointError(f'{self.directory}: {name[:80]!r} is no name of a role')
      folder = self.directory / 'roles' / name
      self._roles[name] = Store(folder, read_only=self.read_only)
    return self._roles[name]

  def _prune(self, roles: Mapping[str, int]) -> None:
    """Deletes versions older than the oldest that a kept checkpoint needs."""
    if all(len(self._role(name).manager.all_steps()) < 2 for name in roles):
      return
    self.wait()  # until the states that go have gone
    needed = [self._states.record(step)['roles'] for step in self.steps()]
    for name, version in roles.items():
      oldest = min([version, *(record[name] for record in needed if name in record)])
      manager = self._role(name).manager
      for other in [step for step in manager.all_steps() if step < oldest]:
        manager.delete(other)


def load_params(
  path: files.PathLike, role: str = 'policy', *, step: int | None = None, example: PyTree = None
) -> PyTree:
  """The parameters of a role from a work directory of rljax (or its checkpoint folder).

  Args:
    path: the work directory.
    role: 'policy', 'value' …: one that the last stage trains, or that it needs or has kept.
    step: checkpoint, the latest by default.
    example: pytree of arrays or `jax.ShapeDtypeStruct`s that gives shapes, dtypes (converted to)
      and shardings, so that each leaf goes straight to its devices.

  Returns:
    a pytree like `example`; without one nested dicts of numpy arrays.

  Raises:
    CheckpointError: no checkpoint there, no such role, or leaves that differ from `example`.

  Examples:
    >>> try:
    ...   checkpoint.load_params('runs/nothing')
    ... except checkpoint.CheckpointError as error:
    ...   print(error)
    there is no checkpoint in runs/nothing
  """
  folder = files.as_path(path)
  inner = folder / FOLDER
  with Checkpointer(inner if inner.exists() else folder, read_only=True) as checkpointer:
    return checkpointer.load_params(role, step=step, example=example)
