"""Local and remote (`gs://` …) files: atomic writes, appends, JSON and JSON lines.

A reader never sees half a file: a local file is written beside its place and renamed over it; an
object store shows an object when it is closed. A temporary file that a killed process left behind
is removed by the next write of the same file.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from etils import epath

PathLike = str | os.PathLike


def as_path(path: PathLike) -> epath.Path:
  """`path` with `~` expanded; local, or remote with a scheme such as `gs://`."""
  return epath.Path(path).expanduser()


def is_remote(path: PathLike) -> bool:
  """True for `gs://`, `s3://` and the like."""
  return '://' in os.fspath(path)


def exists(path: PathLike) -> bool:
  """True if there is a file or a folder at `path`."""
  return as_path(path).exists()


# -- writing


def _is_alive(pid: str) -> bool:
  try:
    os.kill(int(pid), 0)
  except (ValueError, ProcessLookupError, OverflowError):
    return False
  except PermissionError:
    pass
  return True


def _temporary(target: pathlib.Path) -> pathlib.Path:
  """A place beside `target` for this process; removes those of dead processes of this machine.

  The ending of the name is kept, because some writers choose their format by it.
  """
  prefix = f'.{target.name}.{socket.gethostname()}-'
  for entry in os.scandir(target.parent):
    if entry.name.startswith(prefix) and not _is_alive(entry.name[len(prefix) :].split('.')[0]):
      pathlib.Path(entry.path).unlink(missing_ok=True)
  return target.parent / f'{prefix}{os.getpid()}.tmp{target.suffix}'


@contextlib.contextmanager
def atomic(path: PathLike) -> Iterator[pathlib.Path]:
  """Gives a local temporary path; when the block ends well it becomes `path`, else it is removed.

  Folders above `path` are made.
  """
  target = as_path(path)
  target.parent.mkdir(parents=True, exist_ok=True)
  if is_remote(path):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
      temporary = pathlib.Path(folder) / target.name
      yield temporary
      target.write_bytes(temporary.read_bytes())
    return
  local = pathlib.Path(os.fspath(target))
  temporary = _temporary(local)
  try:
    yield temporary
    with open(temporary, 'rb') as file:
      os.fsync(file.fileno())  # else a crash of the machine may leave an empty file
    os.replace(temporary, local)
  finally:
    temporary.unlink(missing_ok=True)


def write_bytes(path: PathLike, content: bytes) -> None:
  """Writes a file atomically."""
  with atomic(path) as temporary:
    temporary.write_bytes(content)


def write_text(path: PathLike, text: str) -> None:
  """Writes a UTF-8 file atomically."""
  write_bytes(path, text.encode())


def append_text(path: PathLike, text: str) -> None:
  """Appends to a UTF-8 file, which is made if it is not there; whole when the call returns.

  Object stores have no append: there the object is written anew, so callers collect their lines.
  """
  target = as_path(path)
  if is_remote(path):
    target.write_bytes((target.read_bytes() if target.exists() else b'') + text.encode())
    return
  target.parent.mkdir(parents=True, exist_ok=True)
  with open(target, 'a', encoding='utf-8', newline='') as file:
    file.write(text)


def read_text(path: PathLike) -> str:
  """The text of a UTF-8 file."""
  return as_path(path).read_bytes().decode()


def read_bytes(path: PathLike) -> bytes:
  """The content of a file."""
  return as_path(path).read_bytes()


# -- JSON


def plain(value: Any, *, nonfinite: Callable[[float], Any] = str) -> Any:
  """`value` in JSON's own types, so that plain(json.loads(json.dumps(plain(value)))) is the same.

  Tuples and sets become lists, functions their dotted names, numpy and jax arrays numbers (float32
  the shortest decimal with its bits), other things their text.

  Args:
    value: dicts (or what has `items`), lists, tuples … of anything.
    nonfinite: what becomes of NaN and infinities, which JSON does not have; text by default.
  """
  if hasattr(value, 'items'):
    return {str(key): plain(item, nonfinite=nonfinite) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [plain(item, nonfinite=nonfinite) for item in value]
  if isinstance(value, set | frozenset):
    return sorted((plain(item, nonfinite=nonfinite) for item in value), key=str)
  if value is None or isinstance(value, bool | int | str):
    return value
  if str(getattr(value, 'dtype', '')) == 'float32' and value.shape == ():
    value = float(str(np.float32(value)))
  if isinstance(value, float):
    return float(value) if math.isfinite(value) else nonfinite(value)
  if callable(value) and hasattr(value, '__qualname__'):
    return f'{value.__module__}.{value.__qualname__}'
  if hasattr(value, 'tolist'):
    return plain(value.tolist(), nonfinite=nonfinite)
  return str(value)


def write_json(path: PathLike, value: Any) -> None:
  """Writes `value` as indented JSON, atomically; NaN and infinities are refused."""
  write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + '\n')


def read_json(path: PathLike) -> Any:
  """The value in a JSON file."""
  return json.loads(read_text(path))


def json_lines(rows: Iterable[Any]) -> str:
  """One line of JSON for each row; NaN and infinities are refused."""
  return ''.join(json.dumps(row, ensure_ascii=False, allow_nan=False) + '\n' for row in rows)


def read_jsonl(path: PathLike) -> list[Any]:
  """The rows of a file of JSON lines; an incomplete last line (of a killed writer) is left out.

  Raises:
    ValueError: a line inside the file is no JSON; names file and line.
  """
  # Split at newlines only: str.splitlines also splits at characters that JSON strings may hold.
  *complete, rest = read_text(path).split('\n')
  rows = []
  for number, line in enumerate(complete + ([rest] if _is_json(rest) else []), start=1):
    try:
      if line.strip():
        rows.append(json.loads(line))
    except json.JSONDecodeError as error:
      raise ValueError(f'{os.fspath(path)}, line {number}: no JSON ({error.msg})') from None
  return rows


def _is_json(line: str) -> bool:
  try:
    json.loads(line)
  except json.JSONDecodeError:
    return False
  return True


def truncate_jsonl(path: PathLike, keep: Callable[[Any], bool]) -> int:
  """Drops the rows that `keep` refuses, and an incomplete last line; a missing file stays missing.

  Returns:
    the number of lines dropped.
  """
  if not exists(path):
    return 0
  text = read_text(path)
  *complete, rest = text.split('\n')
  kept = [line for line in complete if line.strip() and keep(json.loads(line))]
  # A writer ends each row with its newline; what follows the last one was cut off by a kill.
  if (content := ''.join(f'{line}\n' for line in kept)) != text:
    write_text(path, content)
  return sum(1 for line in complete if line.strip()) - len(kept) + bool(rest.strip())
