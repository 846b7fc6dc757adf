"""What the library of objectives holds: read off the docstrings, so it is never out of date."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rljax import config

PACKAGES = (
  'losses',
  'advantages',
  'regularizers',
  'weighting',
  'corrections',
  'selection',
  'shaping',
)
FIDELITIES = ('faithful', 'recalled', 'adapted')
ENTRY = re.compile(
  r'^ *(Source|Differs from the source|Fidelity): *(.*(?:\n(?! *\w[\w ]*: ).+)*)', re.MULTILINE
)


class Entry(NamedTuple):
  """One function.

  Attributes:
    name: as a config names it, 'losses.gspo'.
    equation: first line of its docstring.
    source: where it comes from.
    fidelity: 'faithful', 'recalled' (not confirmed against the paper) or 'adapted'.
    presets: configs that use it.
  """

  name: str
  equation: str
  source: str
  fidelity: str
  presets: tuple[str, ...]


def entries() -> list[Entry]:
  """All functions of the library, package by package.

  Raises:
    ValueError: a docstring that lacks its source or its fidelity.
  """
  users = _users()
  found = []
  for package in PACKAGES:
    module = importlib.import_module(f'rljax.{package}')
    for name in sorted(module.__all__):
      function = getattr(module, name)
      if not name.endswith('_init'):
        found.append(_entry(f'{package}.{name}', function, users.get(f'{package}.{name}', ())))
  return found


def _entry(name: str, function: Any, presets: tuple[str, ...]) -> Entry:
  doc = inspect.getdoc(function) or ''
  said = {key: ' '.join(text.split()) for key, text in ENTRY.findall(doc)}
  fidelity = said.get('Fidelity', '')
  if not said.get('Source') or fidelity not in FIDELITIES:
    raise ValueError(
      f'{name}: its docstring must end with Source and with Fidelity, one of '
      f'{", ".join(FIDELITIES)}; the latter is {fidelity!r}'
    )
  return Entry(name, doc.split('\n')[0], said['Source'], fidelity, presets)


@functools.cache
def _users() -> dict[str, tuple[str, ...]]:
  """Function -> presets whose stages name it."""
  users: dict[str, list[str]] = {}
  for preset in sorted(name for name in config.listing() if name.startswith('presets/')):
    found = config.plain(config.load(str(config.find(preset))))
    for stage in found['stages'][-1:]:
      for name in set(_names(found[stage])):
        users.setdefault(name, []).append(preset.removeprefix('presets/'))
  return {name: tuple(presets) for name, presets in users.items()}


def _names(node: Mapping[str, Any]) -> Iterator[str]:
  for key, value in node.items():
    off = node.get(f'{key}_coef', 1) == 0
    if isinstance(value, Mapping) and not off:
      if 'name' in value:
        yield value['name']
      yield from _names(value)


def table() -> str:
  """The catalogue as a table in Markdown, one for each package."""
  lines, found = [], entries()
  for package in PACKAGES:
    lines += [f'**{package}**', '', '| function | what | source | fidelity | presets |']
    lines += ['|---|---|---|---|---|']
    for entry in found:
      if entry.name.startswith(f'{package}.'):
        cells = (
          f'`{entry.name}`',
          entry.equation.replace('|', '\\|'),
          entry.source.replace('|', '\\|'),
          entry.fidelity,
          ', '.join(entry.presets),
        )
        lines.append(f'| {" | ".join(cells)} |')
    lines.append('')
  return '\n'.join(lines)
