"""Runs in the terminal: curves of a line each, before and after, side by side."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rljax import files, metrics
from rljax.report.cells import cell, new_console, number, sparkline, visible
from rljax.report.runs import RunRecord, Series, read_run
from rljax.workdir import differences

# What is worth a line, in this order; a stage other than 'rl' has its loss first.
TOLD = (
  '{stage}/loss', '{stage}/accuracy', 'reward/mean', 'reward/std', 'group/zero_variance',
  'policy/entropy', 'policy/kl_ref', 'policy/loss', 'rollout/length_mean', 'rollout/truncated',
  'mismatch/kl', 'update/grad_norm',
)  # fmt: skip
ALARMS = ('update/skipped', 'reward/errors', 'reward/timeouts')  # where they are not always 0
COMPARED = ('reward/mean', 'policy/entropy', 'rollout/length_mean')


def show(run: RunRecord, *, console: Any = None) -> None:
  """Prints where a run stands, its curves, the parts of its reward, and before and after.

  Examples:
    >>> with workdir.open_workdir('run', 'mine', {'rl': {}, 'stages': ['rl']}, seed=0):
    ...   files.write_text('run/metrics.jsonl', '')
    >>> run = report.read_run('run')
    >>> report.show(run)
    run  mine, seed 0: stopped, nothing yet
    next: rljax samples run, rljax report run
  """
  console = console or new_console()
  console.print(_picture(run))
  if run.summary:
    metrics.print_summary(run.summary, console=console)
  commands = [visible(f'rljax {verb} {run.path}') for verb in ('samples', 'report')]
  console.print(f'next: {commands[0]}, {commands[1]}', markup=False, soft_wrap=True)


def follow(workdir: files.PathLike, *, seconds: float = 1.0, console: Any = None) -> None:
  """Shows a run anew whenever it has written something, until no process holds it any more.

  Ctrl-C ends the looking and leaves the run alone. Where there is no terminal each change is one
  line, and the whole comes at the end.

  Args:
    workdir: of the run.
    seconds: between two looks.

  Raises:
    WorkdirError: no run is there.

  Examples:
    >>> with workdir.open_workdir('run', 'mine', {'rl': {}, 'stages': ['rl']}, seed=0):
    ...   files.write_text('run/metrics.jsonl', '')
    >>> report.follow('run')
    run  mine, seed 0: stopped, nothing yet
    next: rljax samples run, rljax report run
  """
  from rich.live import Live

  console, told = console or new_console(), -1
  run = read_run(workdir)
  with contextlib.suppress(KeyboardInterrupt):
    with Live(console=console, auto_refresh=False, transient=True) as live:
      while run.state == 'running':
        if len(run.rows) != told:
          told = len(run.rows)
          if console.is_terminal:
            live.update(_picture(run), refresh=True)
          else:
            console.print(_head(run), soft_wrap=True)
        time.sleep(seconds)
        run = read_run(workdir)
  show(run, console=console)


def _head(run: RunRecord) -> Any:
  from rich.text import Text

  where = f'  {run.name}, seed {run.seed}: {run.state}, {_place(run)}'
  return Text.assemble((visible(run.title), 'bold'), visible(where))


def _picture(run: RunRecord) -> Any:
  """Where a run stands, and a table of its curves for each stage."""
  from rich.console import Group
  from rich.table import Table

  tables = []
  for stage in run.stages:
    series = run.series(stage)
    names = _worth_a_line(stage, series, run.config.get(stage, {}).get('loss') or {})
    if not names:
      continue
    table = Table(title=cell(stage), title_justify='left', box=None, pad_edge=False)
    for column in ('', 'first', '', 'last'):
      table.add_column(column, justify='left' if not column else 'right')
    for name in names:
      first, last = _ends(series[name])
      table.add_row(cell(name), first, sparkline([v for _, v in series[name]]), last)
    tables.append(table)
  return Group(_head(run), *tables)


def compare(runs: Sequence[RunRecord], *, console: Any = None) -> None:
  """Prints what several runs began and ended with and by what their configs differ, a column each.

  Examples:
    >>> with workdir.open_workdir('run', 'mine', {'rl': {}, 'stages': ['rl']}, seed=0):
    ...   files.write_text('run/metrics.jsonl', '')
    >>> run = report.read_run('run')
    >>> report.compare([run, run])
    first → last
    ┏━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━┓
    ┃              ┃                  run ┃                  run ┃
    ┡━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━┩
    │ state        │ stopped, nothing yet │ stopped, nothing yet │
    │ config, seed │              mine, 0 │              mine, 0 │
    └──────────────┴──────────────────────┴──────────────────────┘
    the configs are the same but for the seed
  """
  from rich.table import Table

  console = console or new_console()
  records = [run.evaluations() for run in runs]
  series = [run.series(run.stages[-1]) if run.stages else {} for run in runs]
  table = Table(title='first → last', title_justify='left')
  for title in ('', *(run.title for run in runs)):
    table.add_column(cell(title), justify='right' if title else 'left', overflow='fold')
  table.add_row('state', *(f'{run.state}, {_place(run)}' for run in runs))
  table.add_row('config, seed', *(cell(f'{run.name}, {run.seed}') for run in runs))
  rows = [{label: cells for label, *cells, _ in metrics.summary_rows(*pair)} for pair in records]
  for label in dict.fromkeys(label for row in rows for label in row):
    table.add_row(label, *(_change(*row.get(label, (None, None))) for row in rows))
  for name in COMPARED:
    if any(name in found for found in series):
      table.add_row(name, *(_change(*_values(found.get(name, []))) for found in series))
      table.add_row('', *(sparkline([v for _, v in found.get(name, [])], 24) for found in series))
  table.add_section()
  differing = _differing(runs)
  for key, values in differing.items():
    table.add_row(cell(key), *(cell(value) for value in values))
  console.print(table)
  if not differing:
    console.print('the configs are the same but for the seed')


def _differing(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
  """Dotted key of the config → its value in each run, of those that differ; not the seed."""
  pairs = [differences(runs[0].config, run.config) for run in runs]
  first = {key: pair[0] for found in pairs for key, pair in found.items() if key != 'seed'}
  return {
    key: [found[key][1] if key in found else value for found in pairs]
    for key, value in sorted(first.items())
  }


def _worth_a_line(stage: str, series: dict[str, Series], loss: Mapping[str, Any]) -> list[str]:
  """Metrics of a stage that are shown: parts of the reward behind its mean, what the loss says."""
  parts = [n for n in series if n.startswith('reward/') and n not in (*TOLD, *ALARMS)]
  names = [name for name in (told.format(stage=stage) for told in TOLD) if name in series]
  place = names.index('reward/mean') + 1 if 'reward/mean' in names else len(names)
  names[place:place] = parts
  said = f'method/{loss.get("name", "").rpartition(".")[2]}/'
  names += [name for name in series if name.startswith(said)]
  names += [n for n in ALARMS if any(value for _, value in series.get(n, []))]
  return names + [name for name in series if name.endswith(('/greedy', '/pass@1'))]


def _ends(points: Series) -> tuple[str, str]:
  first, last = _values(points)
  return number(first), number(last)


def _values(points: Series) -> tuple[Any, Any]:
  return (points[0][1], points[-1][1]) if points else (None, None)


def _change(first: Any, last: Any) -> str:
  return f'{number(first)} → {number(last)}'


def _place(run: RunRecord) -> str:
  """How far the run has come."""
  if not run.rows:
    return 'nothing yet'
  stage, done = run.rows[-1]['stage'], run.rows[-1]['iteration']
  whole = run.config.get(stage, {}).get('iterations')
  return f'{stage} {done}' + (f' of {whole}' if whole else '')
