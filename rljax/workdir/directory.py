"""The work directory of a run: chosen, locked, compared with the config, continued or set aside.

What stands in it: `config.json` (the resolved config), `versions.json` (of each start),
`metrics.jsonl`, `samples.jsonl`, `checkpoints/`, and at the end `summary.json`, which makes the run
a finished one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

from rljax import files, hosts
from rljax.binding import near
from rljax.metrics import read_summary
from rljax.workdir import lock as locking
from rljax.workdir.compare import differences, flatten
from rljax.workdir.lease import WorkdirError
from rljax.workdir.lock import Lock
from rljax.workdir.sources import digests

CONFIG, VERSIONS, SUMMARY = 'config.json', 'versions.json', 'summary.json'
CODE = 'code'  # in `versions.json`: digests of the user's own files
PACKAGES = ('rljax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


@dataclasses.dataclass
class Workdir:
  """An open work directory.

  Attributes:
    path: the directory.
    status: 'fresh' (nothing was there), 'resumed' (the run goes on from its last checkpoint, or
      from the start if it has none) or 'finished' (there is a summary).
    notes: lines worth printing: accepted changes of the config, other versions.
  """

  path: Any
  status: str
  notes: list[str]
  _lock: Any = dataclasses.field(repr=False)

  @property
  def fresh(self) -> bool:
    return self.status == 'fresh'

  @property
  def resumed(self) -> bool:
    return self.status == 'resumed'

  @property
  def finished(self) -> bool:
    return self.status == 'finished'

  @property
  def summary(self) -> dict[str, Any] | None:
    """The summary of a finished run."""
    return read_summary(self.path)

  def release(self) -> None:
    """Lets another run have the directory."""
    if self._lock is not None:  # the first host has it for all
      self._lock.release()

  def __enter__(self) -> Workdir:
    return self

  def __exit__(self, *_: object) -> None:
    self.release()


def default_workdir(config_name: str, seed: int) -> str:
  """A new `runs/<config>/<date-time>-s<seed>`; a path of a config counts as its stem.

  Examples:
    >>> print(workdir.default_workdir('configs/quickstart.py', seed=3)[:16])
    runs/quickstart/
  """
  name = f'{datetime.datetime.now():%Y%m%d-%H%M%S}-s{seed}'
  folder = files.as_path('runs') / files.as_path(config_name).stem
  taken = next(n for n in range(1, 10_000) if not (folder / _numbered(name, n)).exists())
  return str(folder / _numbered(name, taken))


def _numbered(name: str, number: int) -> str:
  return name if number == 1 else f'{name}-{number}'


def _is_used(path: Any) -> bool:
  """True for the directory of a run. Raises if it holds something else."""
  names = files.names(path)
  if CONFIG in names:
    return True
  # A kill before the config was saved leaves the lock and these.
  unfinished = (f'.{CONFIG}.', f'.{VERSIONS}.', VERSIONS)
  strange = [n for n in names if n != locking.NAME and not n.startswith(unfinished)]
  if strange:
    raise WorkdirError(
      f'{path} holds files ({strange[0]} …) but no run of rljax; choose another --workdir'
    )
  return False


def _move_aside(path: Any) -> Any:
  number = 1
  while (target := path.parent / f'{path.name}.old-{number}').exists():
    number += 1
  files.move(path, target, stays=locking.NAME, last=CONFIG)
  return target


def _accept(changed: Mapping[str, tuple[Any, Any]], accept: Iterable[str], path: Any) -> list[str]:
  """Notes on the accepted changes; refuses the others."""
  accept = tuple(accept)

  def covers(name: str, key: str) -> bool:
    return key == name or key.startswith(f'{name}.')

  texts = {key: f'{key}: {old} → {new}' for key, (old, new) in changed.items()}
  refused = [key for key in changed if not any(covers(name, key) for name in accept)]
  if refused:
    listed = ', '.join(texts[key] for key in refused)
    raise WorkdirError(
      f'{path} belongs to a run with another config ({listed}); go on with '
      f'--accept_config_change={",".join([*accept, *refused])} if that is harmless, start anew '
      'with --restart, or choose another --workdir'
    )
  return [f'accepted change of the config: {text}' for text in texts.values()]


def _check_accept(accept: Iterable[str], *configs: Mapping[str, Any]) -> None:
  """Refuses names that no config has: most likely they are misspelt."""
  leaves = {key for config in configs for key in flatten(files.plain(config))}
  known = {'.'.join(k.split('.')[:n]) for k in leaves for n in range(1, k.count('.') + 2)}
  for name in accept:
    if name not in known:
      raise WorkdirError(f'--accept_config_change: there is no key {name!r}{near(name, known)}')


def versions() -> dict[str, str]:
  """Versions of what a run depends on.

  Examples:
    >>> print('jax' in workdir.versions())
    True
  """
  found = {'python': platform.python_version(), 'platform': platform.platform()}
  for package in PACKAGES:
    with contextlib.suppress(metadata.PackageNotFoundError):
      found[package] = metadata.version(package)
  return found


def _note_versions(path: Any, config: Mapping[str, Any]) -> list[str]:
  """Adds this start to `versions.json`; says what changed since the one before."""
  place, now, code = path / VERSIONS, versions(), digests(config)
  starts = files.read_json(place) if place.exists() else []
  time = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  files.write_json(place, [*starts, {'started': time, **now, **({CODE: code} if code else {})}])
  if not starts:
    return []
  before = {key: value for key, value in starts[-1].items() if key not in ('started', CODE)}
  changed = [f'{key} {old} → {new}' for key, (old, new) in differences(before, now).items()]
  known = starts[-1].get(CODE, {})
  edited = [f'the file of {name}' for name, x in code.items() if known.get(name, x) != x]
  told = {'versions': changed, 'code': edited}
  return [
    f'other {kind} than at the last start, results may differ: {", ".join(what)}'
    for kind, what in told.items()
    if what
  ]


def open_workdir(
  workdir: files.PathLike | None,
  config_name: str,
  config: Mapping[str, Any],
  seed: int,
  *,
  restart: bool = False,
  accept: Iterable[str] = (),
) -> Workdir:
  """Chooses and locks the work directory of a run; of several hosts the first does so for all.

  Args:
    workdir: local or `gs://`; None: a new `runs/<config>/<date-time>-s<seed>`.
    config_name: name or path of the config.
    config: resolved; what is compared and saved.
    seed: of the run; part of the comparison.
    restart: an old run in `workdir` is moved to `<workdir>.old-<number>`.
    accept: keys of the config (or of groups of it) that may differ from the run's.

  Raises:
    WorkdirError: in use by another process (its id is named); another config (the differing keys
      are listed, old → new); or files that are no run's.

  Examples:
    >>> with workdir.open_workdir('run', 'mine', {'a': 1}, seed=0) as work:
    ...   print(work.path.name, work.finished)
    run False
    >>> try:
    ...   workdir.open_workdir('run', 'mine', {'a': 2}, seed=0)
    ... except workdir.WorkdirError as error:
    ...   print(str(error).split(';')[0])
    run belongs to a run with another config (a: 1 → 2)
  """
  if not hosts.is_first():
    told = hosts.agree(None, 'the work directory')
    path = files.as_path(told['path'])
    if not files.exists(path / CONFIG):
      raise WorkdirError(
        f'{path}: this host does not see what the first one has written there; choose a --workdir '
        'on a shared disk, or gs://…'
      )
    return Workdir(path, told['status'], [], None)
  path = files.as_path(workdir or default_workdir(config_name, seed))
  if not files.is_remote(path):
    path = files.as_path(os.path.normpath(path))  # 'runs/x/' has a name, too
  _is_used(path)  # before anything is made in a folder of something else
  files.make_folder(path)
  lock = Lock(path)
  try:
    used = _is_used(path)
    if used and restart:
      _move_aside(path)
      lock, used = lock.renewed(), False
    resolved = {**files.plain(config), 'seed': seed}
    opened = _open(path, used, lock, config_name, resolved, tuple(accept))
    hosts.agree({'path': os.fspath(path), 'status': opened.status}, 'the work directory')
    return opened
  except BaseException:
    lock.release()
    raise


def _open(
  path: Any, used: bool, lock: Lock, name: str, config: dict[str, Any], accept: tuple[str, ...]
) -> Workdir:
  status, notes = 'fresh', []
  if used:
    saved = files.read_json(path / CONFIG)['config']
    _check_accept(accept, saved, config)
    notes = _accept(differences(saved, config), accept, path)
    status = 'finished' if (path / SUMMARY).exists() else 'resumed'
    if status == 'finished' and notes:  # it goes on with what was accepted
      old = f'summary-{len(files.read_json(path / VERSIONS))}.json'
      files.move(path / SUMMARY, path / old)
      status = 'resumed'
  if status != 'finished':
    notes += _note_versions(path, config)
    if not used or notes:
      files.write_json(path / CONFIG, {'name': name, 'seed': config['seed'], 'config': config})
  return Workdir(path, status, notes, lock)


def read_config(workdir: files.PathLike) -> dict[str, Any]:
  """name, seed and config of the run in `workdir`.

  Examples:
    >>> with workdir.open_workdir('run', 'mine', {'a': 1}, seed=0):
    ...   print(workdir.read_config('run'))
    {'name': 'mine', 'seed': 0, 'config': {'a': 1, 'seed': 0}}
  """
  return files.read_json(files.as_path(workdir) / CONFIG)
