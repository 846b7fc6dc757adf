"""Records of published data sets from local files: JSON lines, JSON, CSV and XML."""

from __future__ import annotations

import csv
import io
import itertools
import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

from rljax import data, files

Record = dict[str, Any]


def read(paths: Sequence[pathlib.Path]) -> Sequence[Record]:
  """The records of files, in their order; the format is that of the ending.

  `.jsonl` and a `.json` file with an object on each line: one record a line. `.json`: a list of
  records, or one. `.csv`: rows by the names of the first line, or by '0', '1' … if that line is a
  row as any other, which it is where no cell of it is 'question', in any case. `.xml`: elements
  `Problem` with their attributes and children.

  Raises:
    ValueError: a file that cannot be read so; names it.
  """
  if len(paths) == 1 and paths[0].suffix == '.jsonl':
    return data.JsonLines(paths[0])
  return list(itertools.chain.from_iterable(_READERS[path.suffix](path) for path in paths))


def find(folder: pathlib.Path, patterns: Sequence[str]) -> list[pathlib.Path]:
  """The files of the first pattern that has any, sorted; [] if none has."""
  for pattern in patterns:
    if found := sorted(p for p in folder.glob(pattern) if p.suffix in _READERS):
      return found
  return []


def _json(path: pathlib.Path) -> Sequence[Record]:
  text = files.read_text(path)
  try:
    value = files.parse_json(text)
  except ValueError as error:
    if text.lstrip().startswith('{'):  # lines, although the ending is .json
      return data.JsonLines(path)
    raise ValueError(f'{path}: no JSON: {error}') from None
  records = value if isinstance(value, list) else [value]
  for number, record in enumerate(records, 1):
    if not isinstance(record, dict):
      raise ValueError(f'{path}, record {number}: {type(record).__name__}, no JSON object')
  return records


def _csv(path: pathlib.Path) -> list[Record]:
  stream = io.StringIO(files.read_text(path), newline='')
  rows = [row for row in csv.reader(stream) if row]
  if not rows:
    raise ValueError(f'{path}: no rows')
  named = any(cell.strip().lower() == 'question' for cell in rows[0])
  names = rows.pop(0) if named else [str(place) for place in range(len(rows[0]))]
  for number, row in enumerate(rows, 1):
    if len(row) != len(names):
      raise ValueError(f'{path}, row {number}: {len(row)} cells where {len(names)} should be')
  return [dict(zip(names, row)) for row in rows]


def _xml(path: pathlib.Path) -> list[Record]:
  try:
    root = ElementTree.parse(path).getroot()
  except ElementTree.ParseError as error:
    raise ValueError(f'{path}: no XML: {error}') from None
  return [
    {**problem.attrib, **{child.tag: (child.text or '').strip() for child in problem}}
    for problem in root.iter('Problem')
  ]


_READERS = {'.jsonl': data.JsonLines, '.json': _json, '.csv': _csv, '.xml': _xml}
