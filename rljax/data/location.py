"""Where data sets lie on this machine."""

from __future__ import annotations

import os
import pathlib


def data_dir() -> pathlib.Path:
  """`$RLJAX_DATA`, by default ~/.cache/rljax."""
  return pathlib.Path(os.environ.get('RLJAX_DATA') or '~/.cache/rljax').expanduser()
