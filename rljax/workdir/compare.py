"""What differs between two configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljax import files

ABSENT = '(absent)'


def flatten(value: Any, path: str = '') -> dict[str, Any]:
  """Dotted path -> leaf; lists of dicts are walked through, other lists are leaves."""
  if isinstance(value, list) and any(isinstance(item, dict) for item in value):
    value = {str(i): item for i, item in enumerate(value)}
  if not isinstance(value, dict) or (path and not value):
    return {path: value}
  leaves: dict[str, Any] = {}
  for key, item in value.items():
    leaves.update(flatten(item, f'{path}.{key}' if path else key))
  return leaves


def _same(a: Any, b: Any) -> bool:
  if isinstance(a, list) and isinstance(b, list):
    return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b))
  return isinstance(a, bool) == isinstance(b, bool) and a == b


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
  """Dotted key -> (old, new) of what differs between two configs; '(absent)' where there is none.

  Tuples and lists are the same, and so are 1 and 1.0; a flag and a number are not.

  Examples:
    >>> old, new = {'rl': {'prompts': 8, 'ks': (1, 4)}}, {'rl': {'prompts': 16, 'ks': [1, 4]}}
    >>> print(workdir.differences(old, new))
    {'rl.prompts': (8, 16)}
  """
  first, second = flatten(files.plain(old)), flatten(files.plain(new))
  keys = [*first, *(key for key in second if key not in first)]
  pairs = {key: (first.get(key, ABSENT), second.get(key, ABSENT)) for key in keys}
  return {key: pair for key, pair in pairs.items() if not _same(*pair)}
