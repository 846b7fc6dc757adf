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


class TensorFile:
  """A safetensors file, read by memory map: only what is looked at is read.

  Attributes:
    path: of the file.
    entries: name → (dtype name, shape, (begin, end) in the file).
  """

  def __init__(self, path: files.PathLike):
    self.path = path = Path(path)
    size = path.stat().st_size
    try:
      with path.open('rb') as file:
        (length,) = struct.unpack('<Q', file.read(8))
        if length > size - 8:
          raise ValueError('the header is longer than the file')
        header = json.loads(file.read(length))
      header.pop('__metadata__', None)
      begin = 8 + length
      self.entries = {
        name: (e['dtype'], tuple(e['shape']), tuple(begin + o for o in e['data_offsets']))
        for name, e in header.items()
      }
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
      raise ValueError(f'{path} is no safetensors file: {error}') from error
    end = max((e[2][1] for e in self.entries.values()), default=begin)
    if end > size:
      raise ValueError(f'{path} is cut off: {size} bytes of {end}')

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
