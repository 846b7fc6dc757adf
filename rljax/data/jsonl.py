"""Files with one JSON object a line."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

from rljax import files


class JsonLines(Sequence[dict[str, Any]]):
  """The records of a .jsonl file by index; the file is read line by line when it is asked.

  A .jsonl.gz file is unpacked into memory.

  Args:
    path: of a local file; blank lines are skipped.

  Raises:
    FileNotFoundError: there is no such file.
    OSError: a .gz file is damaged.
    ValueError: from an index, if its line is no JSON object; names file and line.
  """

  def __init__(self, path: str | os.PathLike[str]) -> None:
    self._path = os.fspath(path)
    self._unpacked: bytes | None = None
    if self._path.endswith('.gz'):
      with gzip.open(self._path) as stream:
        self._unpacked = stream.read()
    self._starts: list[tuple[int, int]] = []  # (byte, line number)
    start = 0
    with self._open() as stream:
      for number, line in enumerate(stream, 1):
        if line.strip():
          self._starts.append((start, number))
        start += len(line)

  def _open(self) -> BinaryIO:
    return open(self._path, 'rb') if self._unpacked is None else io.BytesIO(self._unpacked)

  def __len__(self) -> int:
    return len(self._starts)

  def __getitem__(self, index):
    if isinstance(index, slice):
      return [self[i] for i in range(*index.indices(len(self)))]
    start, number = self._starts[index]
    with self._open() as stream:
      stream.seek(start)
      line = stream.readline()
    try:
      record = files.parse_json(line)
    except ValueError as error:
      raise ValueError(f'{self._path}, line {number}: no JSON: {error}') from None
    if not isinstance(record, dict):
      raise ValueError(f'{self._path}, line {number}: {type(record).__name__}, no JSON object')
    return record
