"""The verbs that show what is there: configs, functions, methods, and what runs have written."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rljax import config, files
from rljax.arguments import UsageError, configure, parse


def configs(argv: Sequence[str]) -> int:
  """Lists the configs; --copy=NAME copies one to be edited, --show=NAME prints one whole.

  rljax configs --copy=quickstart --to=configs/mine.py
  """
  args, changes = parse('configs', argv, configs.__doc__)
  if changes and not args.show:
    raise UsageError(f'unknown argument {changes[0]!r}')
  if args.show:
    print('\n'.join(folded(describe(configure(config.find(args.show), changes)))))
    return 0
  if not args.copy:
    found, own = config.listing(), config.shipped().resolve()
    width = max(len(name) for name in found)
    for name, (path, line) in sorted(found.items()):
      where = '' if path.resolve().is_relative_to(own) else f'  ({path})'
      print(f'{name:{width}}  {line}{where}')
    return 0
  source, target = config.find(args.copy), Path(args.to or f'configs/{args.copy}.py')
  if target.exists():
    raise UsageError(f'{target} exists; --to=PATH.py puts the copy elsewhere')
  files.write_text(target, files.read_text(source))
  print(f'{source} -> {target}; run it: rljax train --config={target}')
  return 0


def catalogue(argv: Sequence[str]) -> int:
  """Lists the functions of the library: their equations, sources and presets.

  rljax catalogue --find=gspo
  """
  args, changes = parse('catalogue', argv, catalogue.__doc__)
  if changes:
    raise UsageError(f'unknown argument {changes[0]!r}')

  from rljax import catalogue as functions

  if args.markdown:
    print(functions.table())
    return 0
  found = [e for e in functions.entries() if args.find.lower() in ' '.join(map(str, e)).lower()]
  for entry in found:
    print(f'{entry.name}  ({entry.fidelity})')
    lines = [entry.equation, f'source: {entry.source}']
    lines += [f'presets: {", ".join(entry.presets)}'] if entry.presets else []
    print(*folded(lines), sep='\n')
  if not found:
    raise UsageError(
      f'no function, equation, source or preset has {args.find!r} in it; tasks, rewards and models '
      'are in the reference of the site'
    )
  return 0


def methods(argv: Sequence[str]) -> int:
  """Lists the methods of the literature, with what they change and their configs.

  rljax methods --stage=advantages
  """
  args, changes = parse('methods', argv, methods.__doc__)
  if changes:
    raise UsageError(f'unknown argument {changes[0]!r}')

  from rljax import methods as literature

  found = literature.methods()
  if args.markdown or args.summary:
    print((literature.table if args.markdown else literature.summary)(found))
    return 0
  stages = sorted({method.stage for method in found} - {''})
  if args.stage and args.stage not in stages:
    raise UsageError(f'no method has the stage {args.stage!r}; there are {", ".join(stages)}')
  for method in found:
    if method.stage and args.stage in ('', method.stage):
      print(f'papers/{method.key}  ({method.stage}, {method.fidelity})')
      print(*folded([method.what, method.paper, f'effect: {method.effect}']), sep='\n')
  return 0


def show(argv: Sequence[str]) -> int:
  """Shows a run, live or finished: curves, before and after; compares several.

  rljax show runs/quickstart/20261122-101500-s0 --follow
  """
  args, paths = parse('show', argv, show.__doc__)
  if args.follow and len(paths) > 1:
    raise UsageError(f'show --follow takes one work directory, and here are {len(paths)}')

  from rljax import report

  if args.follow:
    report.follow(paths[0])
    return 0
  found = [report.read_run(path) for path in paths]
  report.show(found[0]) if len(found) == 1 else report.compare(found)
  return 0


def samples(argv: Sequence[str]) -> int:
  """Pages through prompts of a run with their completions, rewards and expected answers.

  rljax samples runs/quickstart/20261122-101500-s0 --iteration=40 --below=0.5
  """
  args, (path,) = parse('samples', argv, samples.__doc__)

  from rljax import report

  run = report.read_run(path)
  names = ('iteration', 'prompt', 'below', 'above', 'page')
  chosen = {name: args[name].value for name in names}
  with report.paged() as console:
    count = None if console.is_terminal else 20
    count = count if args.count is None else args.count
    found = report.show_samples(run, **chosen, count=count, console=console)
  if not found:
    there = sorted({(row['stage'], row['iteration']) for row in run.samples})
    ends = ' … '.join(f'{stage} {i}' for stage, i in (there[:1] + there[-1:])) or 'none'
    raise UsageError(f'{path} has no such samples; there are those of {ends}')
  return 0


def report(argv: Sequence[str]) -> int:
  """Writes the page of a run: curves, samples and config in one HTML file.

  rljax report runs/quickstart/20261122-101500-s0 --to=page.html
  """
  args, (path,) = parse('report', argv, report.__doc__)

  from rljax.report import write_page

  print(write_page(path, args.to))
  return 0


def describe(settings: Mapping[str, Any], usual: Mapping[str, Any] | None = None) -> list[str]:
  """A config as lines to read: one for each group of values, one for each function.

  Stages that the run does not have, and empty dicts, are left out; so are values that are those of
  the resolved config `usual`, but not those of another function than it has there.
  """
  lines, tree = [], config.plain(settings)
  stages = tree.get('stages', ())
  idle = [k for k, v in tree.items() if isinstance(v, Mapping) and 'kind' in v and k not in stages]

  def walk(tree: Mapping[str, Any], path: str, known: Any) -> None:
    values = {k: v for k, v in tree.items() if not isinstance(v, Mapping) or 'schedule' in v}
    name = values.pop('name', '') if 'name' in tree else ''
    known = known if isinstance(known, Mapping) and known.get('name', '') == name else {}
    values = {k: v for k, v in values.items() if k not in known or known[k] != v}
    said = ', '.join(f'{k}={v!r}' for k, v in values.items())
    if said or (name and not known) or usual is None:
      lines.append(f'{path or "run"}: {f"{name}({said})" if name else said}')
    for key, value in tree.items():
      if isinstance(value, Mapping) and value and 'schedule' not in value:
        walk(value, f'{path}.{key}' if path else key, known.get(key))

  walk({k: v for k, v in tree.items() if k not in idle}, '', config.plain(usual or {}))
  return lines


def folded(lines: Sequence[str]) -> list[str]:
  """Lines as wide as the terminal, indented; what is folded is indented once more."""
  fold = textwrap.TextWrapper(
    width=shutil.get_terminal_size((100, 24)).columns,
    initial_indent='  ',
    subsequent_indent='      ',
    break_long_words=False,
    break_on_hyphens=False,
  )
  return [folded for line in lines for folded in fold.wrap(line)]
