"""Arrays by name in one file, which holds nothing that could be executed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rljax.files.store import PathLike, atomic, read_bytes


def write_arrays(path: PathLike, arrays: Mapping[str, Any]) -> None:
  """Writes arrays as .npz, atomically.

  Args:
    path: of the file.
    arrays: by name; numbers and truth values, in numpy's own types.

  Raises:
    ValueError: an array of something else, which would have to be pickled.

  Examples:
    >>> files.write_arrays('batch.npz', {'rewards': np.array([0.5, 1.0])})
    >>> files.read_arrays('batch.npz')['rewards'].tolist()
    [0.5, 1.0]
  """
  import numpy as np  # here, because reward workers import this package

  found = {name: np.asarray(x) for name, x in arrays.items()}
  for name, x in found.items():
    if x.dtype.kind not in 'biufc':
      raise ValueError(f'{path}: the array {name} is of type {x.dtype}; a file takes numbers')
  with atomic(path) as temporary, open(temporary, 'wb') as file:
    np.savez(file, **found)


def read_arrays(path: PathLike) -> dict[str, Any]:
  """The arrays of a file by name.

  Raises:
    ValueError: it holds anything else than numbers.

  Examples:
    >>> files.write_arrays('batch.npz', {'tokens': np.arange(3), 'used': np.array([True])})
    >>> sorted(files.read_arrays('batch.npz'))
    ['tokens', 'used']
  """
  import numpy as np

  with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as found:
    return {name: found[name] for name in found.files}
