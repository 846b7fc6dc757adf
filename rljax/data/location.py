"""Where data sets lie on this machine."""

from __future__ import annotations

import os
import pathlib


def data_dir() -> pathlib.Path:
  """`$RLJAX_DATA`, by default ~/.cache/rljax.

  Examples:
    >>> from unittest import mock
    >>> with mock.patch.dict('os.environ', RLJAX_DATA='/data'):
    ...   print(data.data_dir())
    /data
  """
  return pathlib.Path(os.environ.get('RLJAX_DATA') or '~/.cache/rljax').expanduser()
