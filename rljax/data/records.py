"""Records of data files by index: jsonl, json, csv, parquet, arrow, TFDS; local paths only."""

from __future__ import annotations

import bisect
import csv
import io
import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from rljax import files
from rljax.data.jsonl import JsonLines

SUFFIXES = ('.jsonl', '.jsonl.gz', '.json', '.csv', '.tsv', '.parquet', '.arrow')


def open_records(path: str | os.PathLike[str], split: str = 'train') -> Sequence[dict[str, Any]]:
  r"""The records of a split, by index.

  path is a file, or a directory: one that TFDS has prepared (array_record; text comes as str), one
  that `datasets` has saved (`save_to_disk`), or one with files whose names begin with the split, at
  its top or in `data/`, as on the hub (`train-00000-of-00002.parquet`). Of a file the split is not
  looked at.

  Args:
    path: local; `~` is expanded.
    split: which part of a directory.

  Raises:
    FileNotFoundError: there is no such path, or no split in it; says which there are.
    ValueError: a file of another kind, or one that cannot be read as what its name says.

  Examples:
    >>> files.write_text('train.jsonl', '{"question": "1+1", "gold": 2}\n')
    >>> records = data.open_records('train.jsonl')
    >>> print(len(records), records[0])
    1 {'question': '1+1', 'gold': 2}
  """
  path = pathlib.Path(path).expanduser()
  if path.is_file():
    return _open_file(path)
  if not path.is_dir():
    raise FileNotFoundError(f'{path} does not exist; it should be a file or a directory of records')
  if prepared := sorted(path.glob('**/dataset_info.json')):
    if any(prepared[-1].parent.glob('*.array_record*')):
      return TextRecords(_tfds(prepared[-1].parent, split))
  for folder in (path / split, path):
    if (folder / 'state.json').is_file():
      names = files.read_json(folder / 'state.json')['_data_files']
      return _joined([folder / entry['filename'] for entry in names])
  for folder in (path, path / 'data'):
    if found := [f for f in _files(folder) if _split_of(f) == split]:
      return _joined(found)
  there = {_split_of(f) for folder in (path, path / 'data') for f in _files(folder)}
  raise FileNotFoundError(
    f'{path} has no records of a split {split!r}; there is {", ".join(sorted(there)) or "nothing"}'
  )


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(f for f in folder.glob('*') if f.name.endswith(SUFFIXES) and f.is_file())


def _split_of(file: pathlib.Path) -> str:
  return file.name.partition('.')[0].partition('-')[0]


def _joined(found: Sequence[pathlib.Path]) -> Sequence[dict[str, Any]]:
  parts = [_open_file(file) for file in found]
  return parts[0] if len(parts) == 1 else Joined(parts)


def _open_file(path: pathlib.Path) -> Sequence[dict[str, Any]]:
  name = path.name
  if name.endswith(('.jsonl', '.jsonl.gz')):
    return JsonLines(path)
  if name.endswith('.json'):
    found = files.read_json(path)
    if not isinstance(found, list) or not all(isinstance(r, dict) for r in found):
      raise ValueError(f'{path}: is no list of JSON objects')
    return found
  if name.endswith(('.csv', '.tsv')):
    return _table(path, ',' if name.endswith('.csv') else '\t')
  if name.endswith('.parquet'):
    return Parquet(path)
  if name.endswith('.arrow'):
    return Arrow(path)
  raise ValueError(f'{path}: records are read of {", ".join(SUFFIXES)}')


def _table(path: pathlib.Path, delimiter: str) -> list[dict[str, Any]]:
  stream = io.StringIO(files.read_bytes(path).decode('utf-8-sig'), newline='')
  reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
  rows = []
  for row in reader:
    if None in row or None in row.values():
      raise ValueError(
        f'{path}, line {reader.line_num}: has not the {len(reader.fieldnames)} fields of its head'
      )
    rows.append(row)
  return rows


def _tfds(folder: pathlib.Path, split: str) -> Sequence[dict[str, Any]]:
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(os.fspath(folder))
  if split not in builder.info.splits:
    there = ', '.join(builder.info.splits)
    raise FileNotFoundError(f'{folder} has no records of a split {split!r}; there is {there}')
  return builder.as_data_source(split)


class _Records(Sequence[dict[str, Any]]):
  """Slices and negative indices; `_at` and `__len__` are the reader's."""

  def __getitem__(self, index):
    if isinstance(index, slice):
      return [self[i] for i in range(*index.indices(len(self)))]
    if not -len(self) <= index < len(self):
      raise IndexError(f'record {index} of {len(self)}')
    return self._at(int(index) % len(self))


class TextRecords(_Records):
  """Records whose text comes as bytes, with text as str.

  Args:
    source: records by index.
  """

  def __init__(self, source: Sequence[dict[str, Any]]) -> None:
    self._source = source

  def __len__(self) -> int:
    return len(self._source)

  def _at(self, index: int) -> dict[str, Any]:
    record = self._source[index]
    return {k: x.decode('utf-8') if isinstance(x, bytes) else x for k, x in record.items()}


class Joined(_Records):
  """Several parts, one behind the other.

  Args:
    parts: records by index.
  """

  def __init__(self, parts: Sequence[Sequence[dict[str, Any]]]) -> None:
    self._parts = parts
    self._ends = list(itertools.accumulate(map(len, parts)))

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def _at(self, index: int) -> dict[str, Any]:
    which = bisect.bisect_right(self._ends, index)
    return self._parts[which][index - (self._ends[which - 1] if which else 0)]


class Parquet(_Records):
  """The rows of a parquet file; one row group at a time is in memory.

  Args:
    path: of the file.
  """

  def __init__(self, path: str | os.PathLike[str]) -> None:
    self._path = os.fspath(path)
    meta = self._file().metadata
    sizes = (meta.row_group(i).num_rows for i in range(meta.num_row_groups))
    self._ends = list(itertools.accumulate(sizes))
    self._group, self._rows = -1, []

  def _file(self):
    import pyarrow.parquet as parquet

    try:
      return parquet.ParquetFile(self._path)
    except Exception as error:
      raise ValueError(f'{self._path}: no parquet file: {error}') from None

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def _at(self, index: int) -> dict[str, Any]:
    which = bisect.bisect_right(self._ends, index)
    if which != self._group:
      self._group, self._rows = which, self._file().read_row_group(which).to_pylist()
    return self._rows[index - (self._ends[which - 1] if which else 0)]


class Arrow(_Records):
  """The rows of an arrow stream or file, as `datasets` writes them; mapped, not read.

  Args:
    path: of the file.
  """

  def __init__(self, path: str | os.PathLike[str]) -> None:
    import pyarrow

    mapped = pyarrow.memory_map(os.fspath(path))
    try:
      self._table = pyarrow.ipc.open_stream(mapped).read_all()
    except pyarrow.ArrowInvalid:
      mapped.seek(0)
      try:
        self._table = pyarrow.ipc.open_file(mapped).read_all()
      except pyarrow.ArrowInvalid as error:
        raise ValueError(f'{os.fspath(path)}: no arrow file: {error}') from None

  def __len__(self) -> int:
    return self._table.num_rows

  def _at(self, index: int) -> dict[str, Any]:
    return self._table.slice(index, 1).to_pylist()[0]
