"""Where in the code of a run's author an error came from."""

from __future__ import annotations

import functools
import os
import pathlib
import sysconfig
import traceback


def of(error: BaseException) -> str:
  """' (file, line n)' of the innermost call that is neither rljax's nor a library's, or ''."""
  found = ''
  for frame in traceback.extract_tb(error.__traceback__):
    if not frame.filename.startswith(_libraries()):
      # A cell of a notebook has a file of its own, of which nobody knows the name.
      is_cell = 'ipykernel' in frame.filename
      file = 'a cell' if is_cell else pathlib.PurePath(frame.filename).name
      found = f' ({file}, line {frame.lineno})'
  return found


@functools.cache
def _libraries() -> tuple[str, ...]:
  """Beginnings of the names of files that are not the user's; '<' is generated code."""
  names = ('stdlib', 'platstdlib', 'purelib', 'platlib')
  own = pathlib.Path(__file__).resolve().parent
  return '<', f'{own}{os.sep}', *(f'{sysconfig.get_path(name)}{os.sep}' for name in names)
