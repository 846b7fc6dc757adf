"""The safetensors format: one tensor at a time, bfloat16 included, without a framework.

A file is the length of its header (uint64, little endian), the header (JSON: name → dtype, shape,
byte range in the data), and the data.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from rljax import files

DTYPES = {
  'F32': np.dtype(np.float32),
  'F16': np.dtype(np.float16),
  'BF16': np.dtype(ml_dtypes.bfloat16),
  'F64': np.dtype(np.float64),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER = 100 * 10**6  # bytes, as the format's own library reads


class TensorFile:
  """A safetensors file, read by memory map: only what is looked at is read.

  Attributes:
    path: of the file.
    entries: name → (dtype name, shape, (begin, end) in the file).

  Raises:
    ValueError: a header that is none, or tensors that do not fill the file one after the other.
  """

  def __init__(self, path: files.PathLike):
    self.path = path = Path(path)
    size = path.stat().st_size
    try:
      with path.open('rb') as file:
        (length,) = struct.unpack('<Q', file.read(8))
        if length > min(size - 8, MAX_HEADER):
          raise ValueError(f'its header of {length} bytes does not fit into {size}')
        header = json.loads(file.read(length), object_pairs_hook=_without_twins)
      header.pop('__metadata__', None)
      self.entries = {name: _entry(name, entry, 8 + length) for name, entry in header.items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
      said = 'a header that is too deeply nested' if isinstance(error, RecursionError) else error
      raise ValueError(f'{path} is no safetensors file: {said}') from None
    end = 8 + length
    for name, (_, _, (first, last)) in sorted(self.entries.items(), key=lambda item: item[1][2]):
      if first != end:
        raise ValueError(f'{path}: the bytes of {name} begin at {first} and not at {end}')
      end = last
    if end > size:
      raise ValueError(f'{path} is cut off: {size} bytes of {end}')
    if end < size:
      raise ValueError(f'{path}: {size - end} bytes at its end belong to no tensor')

  def rename(self, rule: Callable[[str], str | None]) -> None:
    """Gives tensors other names, for as long as the file is open; None = it is left out."""
    named = {rule(name): entry for name, entry in self.entries.items()}
    self.entries = {name: entry for name, entry in named.items() if name is not None}

  def shape(self, name: str) -> tuple[int, ...]:
    """The shape of a tensor."""
    return self.entries[name][1]

  def __getitem__(self, name: str) -> np.ndarray:
    """A tensor, mapped and not read.

    Raises:
      ValueError: a dtype that is no float, or a byte range that does not fit the shape.
    """
    dtype_name, shape, (begin, end) = self.entries[name]
    if dtype_name not in DTYPES:
      raise ValueError(f'{self.path}: {name} is {dtype_name}; known are {", ".join(DTYPES)}')
    dtype = DTYPES[dtype_name]
    if end - begin != dtype.itemsize * math.prod(shape):
      raise ValueError(f'{self.path}: {name} has {end - begin} bytes for {dtype_name}{list(shape)}')
    if begin == end:
      return np.empty(shape, dtype)
    data = np.memmap(self.path, np.uint8, 'r', begin, (end - begin,))
    return data.view(dtype).reshape(shape)


def _entry(name: str, entry: Mapping, begin: int) -> tuple[str, tuple[int, ...], tuple[int, int]]:
  """An entry of a header whose data begin at `begin`."""
  shape, offsets = tuple(entry['shape']), tuple(entry['data_offsets'])
  numbers = (*shape, *offsets)
  if not all(type(n) is int and n >= 0 for n in numbers) or len(offsets) != 2:
    raise ValueError(f'{name} has the shape {shape} and the bytes {offsets}')
  if offsets[0] > offsets[1] or not isinstance(entry['dtype'], str):
    raise ValueError(f'{name} of dtype {entry["dtype"]!r} has the bytes {offsets}')
  return entry['dtype'], shape, (begin + offsets[0], begin + offsets[1])


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  found = dict(pairs)
  if len(found) < len(pairs):
    raise ValueError('a name stands twice in its header')
  return found


def write(
  path: files.PathLike,
  shapes: Mapping[str, tuple[int, ...]],
  dtype: np.dtype,
  tensors: Iterable[np.ndarray],
) -> None:
  """Writes a safetensors file one tensor at a time; `tensors` come in the order of `shapes`."""
  header, begin = {'__metadata__': {'format': 'pt'}}, 0
  for name, shape in shapes.items():
    end = begin + dtype.itemsize * math.prod(shape)
    header[name] = {'dtype': NAMES[dtype], 'shape': list(shape), 'data_offsets': [begin, end]}
    begin = end
  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % 8)
  with files.atomic(path) as temporary, temporary.open('wb') as file:
    file.write(struct.pack('<Q', len(text)) + text)
    for shape, tensor in zip(shapes.values(), tensors, strict=True):
      if tensor.shape != shape:
        raise ValueError(f'{path}: {tensor.shape} is written where {shape} was announced')
      file.write(np.ascontiguousarray(tensor, dtype).tobytes())


def split(
  shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype, limit: int
) -> Iterator[dict[str, tuple[int, ...]]]:
  """Parts of `shapes` of at most `limit` bytes each (one tensor at least), in order."""
  part, used = {}, 0
  for name, shape in shapes.items():
    size = dtype.itemsize * math.prod(shape)
    if part and used + size > limit:
      yield part
      part, used = {}, 0
    part[name], used = shape, used + size
  yield part
