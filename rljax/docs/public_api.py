"""What is public: what the packages' `__init__` files export, and a few modules define.

Read without importing.
"""

from __future__ import annotations

import ast
import functools
import pathlib
from typing import NamedTuple

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
MODULES = ('filters', 'logprobs', 'rules', 'structs')  # in no package, and their names are public


class Public(NamedTuple):
  """One public name.

  Attributes:
    name: as one writes it after `rljax.`, 'losses.gspo'; the shortest where there are several.
    path: where it is defined, 'rljax.losses.gspo.gspo'.
    package: whose page it stands on: the innermost that exports it, 'losses.preference'.
    kind: 'function', 'class' or 'value'.
  """

  name: str
  path: str
  package: str
  kind: str


def packages() -> list[str]:
  """The packages that export something, and `MODULES`, as one writes them after `rljax.`."""
  names = (
    '.'.join(path.parent.relative_to(PACKAGE).parts) for path in PACKAGE.rglob('*/__init__.py')
  )
  return sorted((*MODULES, *(name for name in names if name != 'docs' and _exports(name))))


@functools.cache
def public() -> tuple[Public, ...]:
  """All public names, by package and name."""
  found: dict[str, Public] = {}
  for package in packages():  # an inner package follows the one around it
    for name, (path, kind) in _exports(package).items():
      full = f'{package}.{name}'
      known = found.get(path)
      found[path] = Public(known.name if known else full, path, package, kind)
  return tuple(sorted(found.values(), key=lambda entry: (entry.package, entry.name.lower())))


def summary(package: str) -> str:
  """The docstring of a package."""
  return ast.get_docstring(_tree(_init(package))) or ''


@functools.cache
def _exports(package: str) -> dict[str, tuple[str, str]]:
  """Exported name -> (path of the definition, kind)."""
  tree = _tree(_init(package))
  if package in MODULES:
    nodes = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {
      node.name: (f'rljax.{package}.{node.name}', _kind(node))
      for node in nodes
      if not node.name.startswith('_')
    }
  named = [
    ast.literal_eval(node.value)
    for node in tree.body
    if isinstance(node, ast.Assign) and _defined(node) == ['__all__']
  ]
  found = {}
  for node in tree.body:
    if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('rljax.'):
      for alias in node.names:
        found[alias.asname or alias.name] = _definition(node.module, alias.name)
    else:
      for name in _defined(node):
        found[name] = (f'rljax.{package}.{name}', _kind(node))
  if named:
    return {name: found[name] for name in named[0]}
  return {name: entry for name, entry in found.items() if not name.startswith('_')}


def _definition(module: str, name: str) -> tuple[str, str]:
  inner = module.removeprefix('rljax.').replace('.', '/')
  if (PACKAGE / inner).is_dir():
    return _exports(inner.replace('/', '.'))[name]
  for node in _tree(PACKAGE / f'{inner}.py').body:
    if name in _defined(node):
      return f'{module}.{name}', _kind(node)
  raise ValueError(f'{module} exports {name!r} and does not define it')


def _defined(node: ast.stmt) -> list[str]:
  if isinstance(node, ast.FunctionDef | ast.ClassDef):
    return [node.name]
  targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, 'target', None)]
  return [n.id for target in targets if target for n in ast.walk(target) if isinstance(n, ast.Name)]


def _kind(node: ast.stmt) -> str:
  if isinstance(node, ast.FunctionDef):
    return 'function'
  return 'class' if isinstance(node, ast.ClassDef) else 'value'


def _init(package: str) -> pathlib.Path:
  if package in MODULES:
    return PACKAGE / f'{package}.py'
  return PACKAGE / package.replace('.', '/') / '__init__.py'


@functools.cache
def _tree(path: pathlib.Path) -> ast.Module:
  return ast.parse(path.read_text())
