"""Files of lines that grow, and JSON lines in them.

An object cannot be appended: on an object store such a file is a folder of parts, which are joined
when they are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from etils import epath

from rljax.files.json_files import parse_json
from rljax.files.store import (
  PathLike,
  as_path,
  exists,
  is_remote,
  make_folder,
  names,
  read_bytes,
  remove,
  write_bytes,
  write_text,
)


class LineFile:
  """A UTF-8 file of lines that grows.

  On an object store it is a folder of numbered parts. The newest part is written anew, whole, as it
  grows; `end_part` begins another. A local copy of such a folder goes on in the same way.

  Args:
    path: of the file; it is made when the first lines come.
  """

  def __init__(self, path: PathLike):
    self._path = as_path(path)
    self._in_parts = is_remote(path) or self._path.is_dir()
    self._part: epath.Path | None = None
    self._text = ''

  def append(self, text: str) -> None:
    """Adds whole lines; they are there when the call returns, and none of them if it fails."""
    if not self._in_parts:
      make_folder(self._path.parent)
      with open(self._path, 'ab', buffering=0) as file:
        end, content = file.tell(), memoryview(text.encode())
        try:
          while content:
            content = content[file.write(content) :]
        except OSError:  # of a full disk, which takes a part of them
          file.truncate(end)
          raise
      return
    if self._part is None:
      last = [int(part.stem) for part in parts(self._path)[-1:] if part != self._path]
      self._part = self._path / f'{sum(last) + 1:06}{self._path.suffix}'
    write_text(self._part, self._text + text)
    self._text += text

  def end_part(self) -> None:
    """What comes now stands in a part of its own."""
    self._part, self._text = None, ''


def append_text(path: PathLike, text: str) -> None:
  r"""Appends whole lines to a UTF-8 file, as a `LineFile` does.

  Examples:
    >>> files.append_text('log.txt', 'one\n')
    >>> files.append_text('log.txt', 'two\n')
    >>> print(files.read_text('log.txt').split())
    ['one', 'two']
  """
  LineFile(path).append(text)


def parts(path: PathLike) -> list[epath.Path]:
  r"""The parts of a file of lines in their order: itself, if it is one piece.

  Examples:
    >>> files.write_text('rows.jsonl', '{}\n')
    >>> print([str(path) for path in files.parts('rows.jsonl')])
    ['rows.jsonl']
  """
  place = as_path(path)
  if not place.is_dir():
    return [place]
  return [place / name for name in names(place) if not name.startswith('.')]  # of killed writers


def json_lines(rows: Iterable[Any]) -> str:
  """One line of JSON for each row; NaN and infinities are refused.

  Examples:
    >>> print(files.json_lines([{'step': 1}, {'step': 2}]), end='')
    {"step": 1}
    {"step": 2}
  """
  return ''.join(json.dumps(row, ensure_ascii=False, allow_nan=False) + '\n' for row in rows)


def read_jsonl(path: PathLike) -> list[Any]:
  r"""The rows of a file of JSON lines, its parts joined.

  An incomplete last line (of a killed writer) is left out.

  Raises:
    ValueError: a line inside the file is no JSON; names file and line.

  Examples:
    >>> files.write_text('killed.jsonl', '{"step": 1}\n{"step":')
    >>> print(files.read_jsonl('killed.jsonl'))  # half a line of a killed writer is left out
    [{'step': 1}]
  """
  return [row for part in parts(path) for row in _rows(part)]


def _rows(path: epath.Path) -> list[Any]:
  # Bytes: a line that is being written may end within a character. Split at newlines only:
  # splitlines also splits at characters that JSON strings may hold.
  *complete, rest = read_bytes(path).split(b'\n')
  rows = []
  for number, line in enumerate(complete + ([rest] if _is_json(rest) else []), start=1):
    try:
      if line.strip():
        rows.append(parse_json(line))
    except ValueError as error:
      said = getattr(error, 'msg', error)
      raise ValueError(f'{os.fspath(path)}, line {number}: no JSON ({said})') from None
  return rows


def _is_json(line: bytes) -> bool:
  try:
    parse_json(line)
  except ValueError:
    return False
  return True


def truncate_jsonl(path: PathLike, keep: Callable[[Any], bool]) -> int:
  """Drops the rows that `keep` refuses, and an incomplete last line; a missing file stays missing.

  Parts without a row are removed.

  Returns:
    the number of lines dropped.

  Examples:
    >>> files.append_text('steps.jsonl', files.json_lines({'step': i} for i in range(4)))
    >>> print(files.truncate_jsonl('steps.jsonl', lambda row: row['step'] < 2))
    2
    >>> print(files.read_jsonl('steps.jsonl'))
    [{'step': 0}, {'step': 1}]
  """
  if not exists(path):
    return 0
  in_parts = as_path(path).is_dir()
  return sum(_truncate(part, keep, in_parts) for part in parts(path))


def _truncate(path: epath.Path, keep: Callable[[Any], bool], in_parts: bool) -> int:
  text = read_bytes(path)
  *complete, rest = text.split(b'\n')
  kept = [line for line in complete if line.strip() and keep(json.loads(line))]
  # A writer ends each row with its newline; what follows the last one was cut off by a kill.
  content = b''.join(line + b'\n' for line in kept)
  if in_parts and not content:
    remove(path)
  elif content != text:
    write_bytes(path, content)
  return sum(1 for line in complete if line.strip()) - len(kept) + bool(rest.strip())
