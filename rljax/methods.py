"""The methods of the literature: those with a config in configs/papers, and the others."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path
from typing import NamedTuple

from rljax import config, files

SCOPES = ('CORE', 'RECIPE', 'ADAPT', 'CONTEXT')
FIDELITIES = ('faithful', 'recalled', 'adapted')
DIFFERS = (
  'prompts', 'requests', 'rewards', 'advantages', 'weights', 'token loss', 'gradient', 'schedule',
)  # fmt: skip
NOT_YET = 'not_yet.csv'
NOT_MEASURED = 'not measured'
EFFECTS = 'effects.csv'  # written by experiments/papers/run.py


class Method(NamedTuple):
  """One entry.

  Attributes:
    key: of the method; its config is papers/<key>.
    paper: title and year.
    scope: 'CORE', 'RECIPE', 'ADAPT' (from another field) or 'CONTEXT' (no mechanism).
    stage: where it acts, such as 'losses'; '' = not yet.
    functions: dotted names.
    fidelity: 'faithful', 'recalled' or 'adapted'.
    baseline: config that it is compared with.
    differs: what first differs from the baseline on one batch.
    what: first line of the config's docstring.
    effect: what was measured, on which unit of the suite.
  """

  key: str
  paper: str
  scope: str
  stage: str = ''
  functions: tuple[str, ...] = ()
  fidelity: str = ''
  baseline: str = ''
  differs: str = ''
  what: str = ''
  effect: str = NOT_MEASURED


def methods() -> list[Method]:
  """All methods by key, those that are not there yet too.

  Raises:
    ValueError: a config of papers/ whose METHOD is missing or says what does not exist.
  """
  found, effects = {}, {row['key']: row['effect'] for row in _rows(EFFECTS)}
  for name, (path, what) in config.listing().items():
    if name.startswith('papers/'):
      key = name.removeprefix('papers/')
      told = {'effect': effects[key]} if key in effects else {}
      found[key] = _read(path, what)._replace(**told)
  for row in _rows(NOT_YET):
    found.setdefault(row['key'], Method(**row))
  return [found[key] for key in sorted(found)]


def find(key: str) -> Method:
  """The method of a key.

  Raises:
    ValueError: there is none.
  """
  known = {method.key: method for method in methods()}
  if key not in known:
    raise ValueError(f'no method has the key {key!r}; `rljax methods` lists them')
  return known[key]


def _read(path: Path, what: str) -> Method:
  """The METHOD of a config, without running it."""
  for node in ast.parse(files.read_text(path)).body:
    if isinstance(node, ast.Assign) and node.targets[0].id == 'METHOD':
      said = {k.arg: ast.literal_eval(k.value) for k in node.value.keywords}
      break
  else:
    raise ValueError(f'{path}: has no METHOD = dict(paper=…, scope=…, stage=…, …)')
  try:
    method = Method(key=path.stem, what=what, **said)
  except TypeError as error:
    raise ValueError(f'{path}: METHOD: {error}') from None
  for name, known in (('scope', SCOPES), ('fidelity', FIDELITIES), ('differs', DIFFERS)):
    if getattr(method, name) not in known:
      raise ValueError(
        f'{path}: METHOD: {name}={getattr(method, name)!r} is not one of {", ".join(known)}'
      )
  if not (method.stage and method.baseline):
    raise ValueError(f'{path}: METHOD: stage and baseline are needed')
  return method


def _rows(name: str) -> list[dict[str, str]]:
  text = files.read_text(config.shipped() / 'papers' / name)
  return list(csv.DictReader(io.StringIO(text, newline='')))


def table(found: list[Method]) -> str:
  """Methods as a table in Markdown."""
  lines = [
    '| key | paper | stage | functions | fidelity | baseline | differs | effect |',
    '|---|---|---|---|---|---|---|---|',
  ]
  for method in found:
    cells = (
      f'`{method.key}`',
      method.paper.replace('|', '\\|'),
      method.stage or 'not yet',
      ', '.join(f'`{name}`' for name in method.functions),
      method.fidelity,
      method.baseline,
      method.differs,
      method.effect if method.stage else '',
    )
    lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines) + '\n'


def summary(found: list[Method]) -> str:
  """How many there are of each stage, in Markdown."""
  there = [method for method in found if method.stage]
  lines = ['| stage | methods |', '|---|---|']
  for stage in sorted({method.stage for method in there}):
    keys = ', '.join(f'`{m.key}`' for m in there if m.stage == stage)
    lines.append(f'| {stage} | {keys} |')
  rest, measured = len(found) - len(there), sum(m.effect != NOT_MEASURED for m in there)
  return '\n'.join(lines) + (
    f'\n\n{len(there)} of {len(found)}, the effect of {measured} is measured; '
    f'{rest} are not there yet.\n'
  )
