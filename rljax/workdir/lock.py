"""A lock that one run of a work directory holds."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import pathlib
import tempfile
from typing import Any

from rljax import files
from rljax.workdir.lease import Lease, WorkdirError

NAME = '.lock'


class Lock:
  """A lock on a local file; the system lets go of it when the process ends, however it ends.

  An object store has no locks: there the file stands in this machine's temporary directory, and a
  `Lease` keeps the runs of other machines away.
  """

  def __init__(self, workdir: Any):
    self._workdir = workdir
    self._descriptor = _locked(workdir)
    self._lease = None
    if files.is_remote(workdir):
      try:
        self._lease = Lease(files.as_path(workdir) / NAME)
      except BaseException:
        os.close(self._descriptor)
        raise

  def renewed(self) -> Lock:
    """The lock after the directory was moved away: a local one has gone with it."""
    if self._lease is not None:
      return self
    files.make_folder(self._workdir)
    lock = Lock(self._workdir)
    self.release()
    return lock

  def release(self) -> None:
    if self._lease is not None:
      self._lease.release()
    if self._descriptor is not None:
      os.close(self._descriptor)
    self._descriptor = self._lease = None


def _locked(workdir: Any) -> int:
  """The descriptor of a file that this process alone has locked."""
  descriptor = os.open(_place(workdir), os.O_RDWR | os.O_CREAT, 0o644)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    holder = os.read(descriptor, 32).decode().strip() or 'unknown'
    os.close(descriptor)
    if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
      raise WorkdirError(f'{workdir}: the file system has no locks ({error})') from None
    raise WorkdirError(
      f'{workdir} is in use by the process {holder}; wait for it, end it, or choose another '
      '--workdir'
    ) from None
  os.ftruncate(descriptor, 0)
  os.write(descriptor, f'{os.getpid()}\n'.encode())
  return descriptor


def _place(workdir: Any) -> pathlib.Path:
  """The file that is locked."""
  if files.is_remote(workdir):
    digest = hashlib.sha256(os.fspath(workdir).encode()).hexdigest()[:16]
    return pathlib.Path(tempfile.gettempdir()) / f'rljax-{digest}.lock'
  return pathlib.Path(workdir) / NAME


def is_held(workdir: Any) -> bool:
  """True while a process of this machine has the work directory.

  On an object store any machine's counts, and one that was killed, until another start: its lease
  stands there still.

  Examples:
    >>> with workdir.open_workdir('held', 'mine', {'a': 1}, seed=0) as work:
    ...   print(workdir.is_held('held'))
    True
    >>> print(workdir.is_held('held'))
    False
  """
  if files.is_remote(workdir):
    return files.exists(files.as_path(workdir) / NAME)
  try:
    descriptor = os.open(_place(workdir), os.O_RDONLY)
  except FileNotFoundError:
    return False
  try:
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
  except OSError as error:
    return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
  finally:
    os.close(descriptor)
  return False
