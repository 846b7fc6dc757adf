"""The work directory of a run."""

from rljax.workdir.compare import ABSENT, differences
from rljax.workdir.directory import (
  Workdir,
  default_workdir,
  open_workdir,
  read_config,
  versions,
)
from rljax.workdir.lease import WorkdirError
from rljax.workdir.lock import is_held

__all__ = [
  'ABSENT',
  'Workdir',
  'WorkdirError',
  'default_workdir',
  'differences',
  'is_held',
  'open_workdir',
  'read_config',
  'versions',
]
