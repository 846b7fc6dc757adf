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

NAME = '.lock'


class WorkdirError(ValueError):
  """A work directory that must not be used for this run; one line that says what to do."""


class Lock:
  """A lock on a local file; the system lets go of it when the process ends, however it ends."""

  def __init__(self, workdir: Any):
    if files.is_remote(workdir):  # no locks there: this keeps two runs of one machine apart
      digest = hashlib.sha256(os.fspath(workdir).encode()).hexdigest()[:16]
      path = pathlib.Path(tempfile.gettempdir()) / f'rljax-{digest}.lock'
    else:
      path = pathlib.Path(workdir) / NAME
    self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
      fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      holder = os.read(self._descriptor, 32).decode().strip() or 'unknown'
      os.close(self._descriptor)
      if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
        raise WorkdirError(f'{workdir}: the file system has no locks ({error})') from None
      raise WorkdirError(
        f'{workdir} is in use by the process {holder}; wait for it, end it, or choose another '
        '--workdir'
      ) from None
    os.ftruncate(self._descriptor, 0)
    os.write(self._descriptor, f'{os.getpid()}\n'.encode())

  def release(self) -> None:
    if self._descriptor is not None:
      os.close(self._descriptor)
      self._descriptor = None
