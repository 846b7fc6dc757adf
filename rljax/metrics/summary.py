"""The summary of a run: before and after, what it cost, what it was made with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rljax import files, hosts
from rljax.metrics.console import duration

SUMMARY = 'summary.json'


def _plain(value: Any) -> Any:
  return files.plain(value, nonfinite=lambda _: None)


def evaluation_record(scalars: Mapping[str, Any], task: str | None = None) -> dict[str, Any]:
  """The evaluation metrics of one policy as they stand in the summary.

  Args:
    scalars: 'eval/<task>/<what>' -> value; other names are left out.
    task: the task meant; by default the first one.

  Returns:
    greedy, pass@1, 'pass@k' (k -> value), 'avg@n' with 'n', and the rest by its name (fractions);
    {} where nothing was evaluated. Several tasks: 'tasks' holds a record for each.

  Examples:
    >>> scalars = {'eval/sorting/greedy': 0.5, 'eval/sorting/pass@4': 0.7, 'reward/mean': 0.4}
    >>> found = metrics.evaluation_record(scalars)
    >>> print(found['greedy'], found['pass@k'])
    0.5 {'4': 0.7}
  """
  tasks: dict[str, dict[str, Any]] = {}
  for name, value in scalars.items():
    if name.startswith('eval/'):
      _, found, what = name.split('/', 2)
      tasks.setdefault(found, {})[what] = _plain(value)
  if not tasks:
    return {}
  records = {found: _record(values) for found, values in tasks.items()}
  main = records[task or next(iter(records))]
  return main if len(records) == 1 else {**main, 'tasks': records}


def _record(values: Mapping[str, Any]) -> dict[str, Any]:
  passes = {int(w[5:]): v for w, v in values.items() if re.fullmatch(r'pass@\d+', w)}
  averages = {int(w[4:]): v for w, v in values.items() if re.fullmatch(r'avg@\d+', w)}
  n = max(averages, default=None)
  average = averages.get(n)
  return {
    'greedy': values.get('greedy'),
    'pass@1': passes.get(1, average),
    'pass@k': {str(k): passes[k] for k in sorted(passes)},
    'avg@n': average,
    'n': n,
    **{w: v for w, v in values.items() if not re.fullmatch(r'greedy|(pass|avg)@\d+', w)},
  }


def write_summary(
  workdir: files.PathLike,
  *,
  start: Mapping[str, Any],
  end: Mapping[str, Any],
  seconds: float,
  compile_seconds: float,
  peak_mib: float,
  tokens: int,
  config: Mapping[str, Any],
  versions: Mapping[str, str],
  seed: int,
  **more: Any,
) -> dict[str, Any]:
  """Writes `summary.json`; the run counts as finished from then on, so this comes last.

  Args:
    workdir: the work directory.
    start, end: evaluation of the start and of the end policy, as metrics ('eval/<task>/greedy') or
      as records of `evaluation_record`.
    seconds: wall-clock time of the run, all its starts together.
    compile_seconds: of it in the compiler.
    peak_mib: highest memory of the process tree, MiB.
    tokens: sampled in training.
    config: the resolved config.
    versions: package -> version.
    seed: of the run.
    more: further entries.

  Returns:
    the summary.

  Examples:
    >>> cost = dict(seconds=9.0, compile_seconds=4.0, peak_mib=512.0, tokens=100)
    >>> scores = dict(start={'eval/sorting/greedy': 0.4}, end={'eval/sorting/greedy': 0.6})
    >>> summary = metrics.write_summary('run', **scores, **cost, config={}, versions={}, seed=0)
    >>> print(summary['end']['greedy'], metrics.read_summary('run')['tokens'])
    0.6 100
  """
  ends = {'start': start, 'end': end}
  for which, given in ends.items():
    if any(name.startswith('eval/') for name in given):
      ends[which] = evaluation_record(given)
  summary = _plain(
    {
      **ends,
      'seconds': seconds,
      'compile_seconds': compile_seconds,
      'peak_mib': peak_mib,
      'tokens': tokens,
      'seed': seed,
      **more,
      'versions': versions,
      'config': config,
    }
  )
  if hosts.is_first():
    files.write_json(files.as_path(workdir) / SUMMARY, summary)
  return hosts.agree(summary, 'the summary')


def read_summary(workdir: files.PathLike) -> dict[str, Any] | None:
  """The summary of a finished run, else None.

  Examples:
    >>> print(metrics.read_summary('a_run_that_goes_on'))
    None
  """
  path = files.as_path(workdir) / SUMMARY
  return files.read_json(path) if files.exists(path) else None


def summary_rows(
  start: Mapping[str, Any], end: Mapping[str, Any]
) -> list[tuple[str, Any, Any, str]]:
  """(label, value at the start, value at the end, 'fraction', 'number' or 'reward').

  Examples:
    >>> start, end = {'greedy': 0.4, 'pass@k': {4: 0.6}}, {'greedy': 0.5, 'pass@k': {4: 0.7}}
    >>> print(metrics.summary_rows(start, end))
    [('greedy', 0.4, 0.5, 'fraction'), ('pass@4', 0.6, 0.7, 'fraction')]
  """
  rows = [('greedy', start.get('greedy'), end.get('greedy'), 'fraction')]
  first, last = start.get('pass@k') or {}, end.get('pass@k') or {}
  sizes = sorted({*first, *last} - {'1'}, key=int)
  rows.append(('pass@1', start.get('pass@1'), end.get('pass@1'), 'fraction'))
  rows += [(f'pass@{k}', first.get(k), last.get(k), 'fraction') for k in sizes]
  n = end.get('n') or start.get('n')
  if n is not None and not all(_is_same(r.get('avg@n'), r.get('pass@1')) for r in (start, end)):
    rows.append((f'avg@{n}', start.get('avg@n'), end.get('avg@n'), 'fraction'))
  right = 'greedy' if end.get('pass@1') is None else 'pass@1'
  if not all(_is_same(r.get('reward'), r.get(right)) for r in (start, end)):  # it knows parts
    rows.append(('reward', start.get('reward'), end.get('reward'), 'reward'))
  others = ('component/lenient', 'accuracy', 'margin', 'well_formed', 'truncated', 'length_mean')
  for name in others:
    kind = 'number' if name in ('length_mean', 'margin') else 'fraction'
    label = name.removeprefix('component/').replace('_', ' ')
    rows.append((label, start.get(name), end.get(name), kind))
  return [row for row in rows if row[1] is not None or row[2] is not None]


def _is_same(a: float | None, b: float | None) -> bool:
  return a == b or (a is not None and b is not None and math.isclose(a, b))


def _cells(first: Any, last: Any, kind: str) -> tuple[str, str, str]:
  scale, unit = (100, ' %') if kind == 'fraction' else (1, '')
  form = '.3f' if kind == 'reward' else '.1f'
  texts = ['–' if v is None else format(v * scale, form) + unit for v in (first, last)]
  if first is None or last is None:
    return texts[0], texts[1], ''
  return texts[0], texts[1], format((last - first) * scale, '+' + form)


def print_summary(
  summary: Mapping[str, Any], *, next_commands: Sequence[str] = (), console: Any = None
) -> None:
  """Prints before and after with the gain in points, the cost, and what to do next.

  Examples:
    >>> summary = {'start': {'greedy': 0.4}, 'end': {'greedy': 0.6}, 'seconds': 65.0, 'seed': 0}
    >>> metrics.print_summary(summary, next_commands=['rljax report run'])
    held-out problems
    ┏━━━━━━━━┳━━━━━━━━┳━━━━━━━━┳━━━━━━━┓
    ┃        ┃  start ┃    end ┃  gain ┃
    ┡━━━━━━━━╇━━━━━━━━╇━━━━━━━━╇━━━━━━━┩
    │ greedy │ 40.0 % │ 60.0 % │ +20.0 │
    └────────┴────────┴────────┴───────┘
    seed 0 · 1:05 (compiling 0:00)
    next: rljax report run
  """
  from rich.console import Console
  from rich.table import Table

  console = console or Console(force_jupyter=False, highlight=False)
  start, end = summary.get('start') or {}, summary.get('end') or {}
  table = Table(title='held-out problems', title_justify='left')
  table.add_column('')
  for column in ('start', 'end', 'gain'):
    table.add_column(column, justify='right')
  for label, first, last, kind in summary_rows(start, end):
    texts = _cells(first, last, kind)
    gained = texts[2].startswith('-' if label == 'truncated' else '+') and kind == 'fraction'
    table.add_row(label, *texts[:2], f'[bold green]{texts[2]}[/]' if gained else texts[2])
  if table.row_count:
    console.print(table)
  cost = [f'seed {summary.get("seed")}', duration(summary.get('seconds') or 0)]
  cost[1] += f' (compiling {duration(summary.get("compile_seconds") or 0)})'
  if summary.get('peak_mib'):
    cost.append(f'peak memory {summary["peak_mib"] / 1024:.2f} GiB')
  if summary.get('tokens') is not None:
    cost.append(f'{summary["tokens"]:,} tokens sampled')
  console.print(' · '.join(cost), markup=False, soft_wrap=True)
  for command in next_commands:
    console.print(f'next: {command}', markup=False, soft_wrap=True)
