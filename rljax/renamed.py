"""Names that were changed: the old one works for one minor version, and says what it is called now.

At the end of the `__init__` file of the package that had the name:

    __getattr__ = renamed.names(__name__, {'gspo_tokenwise': ('gspo_token', '0.2')})
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def names(package: str, table: Mapping[str, tuple[str, str]]) -> Callable[[str], Any]:
  """A module's `__getattr__` that knows old names; configs find them as other code does.

  Args:
    package: name of the module.
    table: old name → (new one, in the module or, with dots, behind `rljax.`; the version that
      changed it, such as '0.2').

  Returns:
    a function that gives what an old name means now and warns (FutureWarning), or raises
    AttributeError.
  """

  def __getattr__(name: str) -> Any:
    if name not in table:
      raise AttributeError(f'module {package!r} has no attribute {name!r}')
    new, version = table[name]
    home, _, last = (f'rljax.{new}' if '.' in new else f'{package}.{new}').rpartition('.')
    warnings.warn(
      f'{package}.{name} is called {home}.{last} since version {version}; the old name goes with '
      f'version {gone(version)}',
      FutureWarning,
      stacklevel=2,
    )
    return getattr(importlib.import_module(home), last)

  return __getattr__


def gone(version: str) -> str:
  """The version without a name that was changed in `version`: the next minor one.

  Args:
    version: such as '0.2' or '0.2.1'.
  """
  major, minor = version.split('.')[:2]
  return f'{major}.{int(minor) + 1}'
