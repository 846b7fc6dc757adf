"""Local and remote (`gs://` …) files: the one place that opens, writes, lists and removes them."""

from rljax.files.arrays import read_arrays, write_arrays
from rljax.files.json_files import parse_json, plain, read_json, write_json
from rljax.files.lines import (
  LineFile,
  append_text,
  json_lines,
  parts,
  read_jsonl,
  truncate_jsonl,
)
from rljax.files.store import (
  PathLike,
  as_path,
  atomic,
  exists,
  is_remote,
  local_copy,
  make_folder,
  move,
  names,
  read_bytes,
  read_text,
  remove,
  upload,
  write_bytes,
  write_text,
)

__all__ = [
  'LineFile',
  'PathLike',
  'append_text',
  'as_path',
  'atomic',
  'exists',
  'is_remote',
  'json_lines',
  'local_copy',
  'make_folder',
  'move',
  'names',
  'parse_json',
  'parts',
  'plain',
  'read_arrays',
  'read_bytes',
  'read_json',
  'read_jsonl',
  'read_text',
  'remove',
  'truncate_jsonl',
  'upload',
  'write_arrays',
  'write_bytes',
  'write_json',
  'write_text',
]
