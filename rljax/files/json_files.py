"""JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from rljax.files.store import PathLike, read_text, write_text


def plain(value: Any, *, nonfinite: Callable[[float], Any] = str) -> Any:
  """`value` in JSON's own types, so that plain(json.loads(json.dumps(plain(value)))) is the same.

  Tuples and sets become lists, functions their dotted names, numpy and jax arrays numbers (float32
  the shortest decimal with its bits), other things their text.

  Args:
    value: dicts (or what has `items`), lists, tuples … of anything.
    nonfinite: what becomes of NaN and infinities, which JSON does not have; text by default.

  Examples:
    >>> print(files.plain({'lr': np.float32(0.1), 'ks': (1, 4), 'loss': float('inf')}))
    {'lr': 0.1, 'ks': [1, 4], 'loss': 'inf'}
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
    import numpy as np  # here, because reward workers import this module

    value = float(str(np.float32(value)))
  if isinstance(value, float):
    return float(value) if math.isfinite(value) else nonfinite(value)
  if callable(value) and hasattr(value, '__qualname__'):
    return f'{value.__module__}.{value.__qualname__}'
  if hasattr(value, 'tolist'):
    return plain(value.tolist(), nonfinite=nonfinite)
  return str(value)


def write_json(path: PathLike, value: Any) -> None:
  """Writes `value` as indented JSON, atomically; NaN and infinities are refused.

  Examples:
    >>> files.write_json('b.json', {'ks': (1, 4)})
    >>> print(files.read_text('b.json'))
    {
      "ks": [
        1,
        4
      ]
    }
  """
  write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + '\n')


def read_json(path: PathLike) -> Any:
  """The value in a JSON file.

  Examples:
    >>> files.write_json('a.json', {'seed': 1})
    >>> print(files.read_json('a.json'))
    {'seed': 1}
  """
  return parse_json(read_text(path))


def parse_json(text: str | bytes) -> Any:
  """The value of a JSON text, whoever wrote it.

  Raises:
    ValueError: it is none, or too deeply nested.

  Examples:
    >>> print(files.parse_json('{"reward": 1}'))
    {'reward': 1}
    >>> try:
    ...   files.parse_json('[' * 100_000)
    ... except ValueError as error:
    ...   print(error)
    JSON that is too deeply nested
  """
  try:
    return json.loads(text)
  except RecursionError:
    raise ValueError('JSON that is too deeply nested') from None
