"""What host objects remember, as JSON that gives back what was put in."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class CheckpointError(ValueError):
  """A checkpoint that is missing, incomplete or of another shape."""


class DamagedError(CheckpointError):
  """A checkpoint that is there and cannot be what was written."""


def encode(value: Any, where: str = 'host') -> Any:
  """`value` as JSON: besides JSON's own types tuples, bytes, arrays, NaN and any keys of dicts.

  Examples:
    >>> print(checkpoint.encode({'seen': (1, 2), 'loss': float('nan')}))
    {'seen': {'__tuple__': [1, 2]}, 'loss': {'__float__': 'nan'}}
  """
  if value is None or isinstance(value, bool | int | str):
    return value
  if isinstance(value, np.generic):
    return encode(value.item(), where)
  if isinstance(value, float):
    return value if math.isfinite(value) else {'__float__': repr(value)}
  if isinstance(value, bytes):
    return {'__bytes__': base64.b64encode(value).decode()}
  if isinstance(value, np.ndarray | jax.Array):
    array = np.asarray(value)
    content = base64.b64encode(array.tobytes()).decode()
    return {'__array__': content, 'dtype': array.dtype.name, 'shape': list(array.shape)}
  if isinstance(value, list | tuple):
    items = [encode(item, f'{where}[{i}]') for i, item in enumerate(value)]
    return items if isinstance(value, list) else {'__tuple__': items}
  if isinstance(value, Mapping):
    items = [(key, encode(item, f'{where}[{key!r}]')) for key, item in value.items()]
    if all(isinstance(key, str) and not key.startswith('__') for key, _ in items):
      return dict(items)
    # JSON would turn the keys into strings.
    return {'__items__': [[encode(key, where), item] for key, item in items]}
  raise CheckpointError(f'{where}: a checkpoint cannot hold a {type(value).__name__}')


def decode(value: Any) -> Any:
  """The inverse of `encode`; numpy and jax scalars come back as Python numbers.

  Raises:
    CheckpointError: `encode` gives no such record.

  Examples:
    >>> print(checkpoint.decode(checkpoint.encode({'seen': (1, 2), 3: b'x'})))
    {'seen': (1, 2), 3: b'x'}
  """
  try:
    return _decode(value)
  except (ValueError, TypeError, KeyError, RecursionError) as error:
    raise CheckpointError(f'the host record is damaged: {type(error).__name__}: {error}') from None


def _decode(value: Any) -> Any:
  if isinstance(value, list):
    return [_decode(item) for item in value]
  if not isinstance(value, dict):
    return value
  if '__float__' in value:
    return float(value['__float__'])
  if '__bytes__' in value:
    return base64.b64decode(value['__bytes__'])
  if '__array__' in value:
    flat = np.frombuffer(base64.b64decode(value['__array__']), jnp.dtype(value['dtype']))
    return flat.reshape(value['shape']).copy()
  if '__tuple__' in value:
    return tuple(_decode(item) for item in value['__tuple__'])
  if '__items__' in value:
    return {_decode(key): _decode(item) for key, item in value['__items__']}
  return {key: _decode(item) for key, item in value.items()}
