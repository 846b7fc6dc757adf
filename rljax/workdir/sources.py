"""The functions of the user's own that a config names, and whether their files have changed."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

_NAME = re.compile(r'[A-Za-z_]\w*(\.[A-Za-z_]\w*)+')


def digests(config: Mapping[str, Any]) -> dict[str, str]:
  """Dotted name → digest of the file that defines it, of all names in a config but rljax's own.

  The whole file counts, as a function may call others in it; what it imports from elsewhere does
  not. Nothing is imported for this but packages.

  Args:
    config: resolved, nested dicts, lists and tuples.
  """
  names = {text for text in _texts(config) if _NAME.fullmatch(text)}
  found = {name: _source(name) for name in sorted(names) if not _is_own(name)}
  return {
    name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in found.items() if text
  }


def _texts(node: Any) -> Iterator[str]:
  if isinstance(node, str):
    yield node
  elif isinstance(node, Mapping | list | tuple):
    for item in node.values() if isinstance(node, Mapping) else node:
      yield from _texts(item)


def _is_own(name: str) -> bool:
  return _spec(f'rljax.{name.rpartition(".")[0]}') is not None


def _spec(module: str) -> Any:
  with contextlib.suppress(ImportError, ValueError):  # no package, or a module made by hand
    return importlib.util.find_spec(module)
  return None


def _source(name: str) -> str:
  """The text of the file that defines a name; '' if there is none that does."""
  module_name, _, attribute = name.rpartition('.')
  module = sys.modules.get(module_name)
  path = getattr(module, '__file__', None)
  if module is None:
    path = getattr(_spec(module_name), 'origin', None)
  elif path is None and hasattr(module, attribute):  # of a notebook
    with contextlib.suppress(OSError, TypeError):
      return inspect.getsource(getattr(module, attribute))
  with contextlib.suppress(OSError, TypeError, UnicodeDecodeError):
    text = pathlib.Path(path).read_text(encoding='utf-8')
    return text if re.search(rf'\b{attribute}\b', text) else ''
  return ''
