"""Runs in the terminal: curves of a line each, before and after, samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rljax import metrics
from rljax.report.runs import RunRecord, Series

BLOCKS = '▁▂▃▄▅▆▇█'
WIDTH = 40  # characters of a curve
# Of C0, DEL and C1, but line feed and tab.
PICTURES = {chr(i): chr(0x2400 + i) for i in range(32) if chr(i) not in '\n\t'}
PICTURES |= {chr(i): '␡' if i == 127 else '\ufffd' for i in range(127, 160)}
# What is worth a line, in this order; a stage other than 'rl' has its loss first.
TOLD = (
  '{stage}/loss', '{stage}/accuracy', 'reward/mean', 'reward/std', 'group/zero_variance',
  'policy/entropy', 'policy/kl_ref', 'policy/loss', 'rollout/length_mean', 'rollout/truncated',
  'mismatch/kl', 'update/grad_norm', 'update/skipped', 'reward/errors', 'reward/timeouts',
)  # fmt: skip
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
  from rich.table import Table
  from rich.text import Text

  console = console or _console()
  where = f'  {run.name}, seed {run.seed}: {run.state}, {_place(run)}'
  console.print(Text.assemble((_visible(run.title), 'bold'), _visible(where)))
  for stage in run.stages:
    series = run.series(stage)
    names = [name for name in (told.format(stage=stage) for told in TOLD) if name in series]
    names += _parts(series) + [name for name in series if name.endswith(('/greedy', '/pass@1'))]
    if not names:
      continue
    table = Table(title=_cell(stage), title_justify='left', box=None, pad_edge=False)
    for column in ('', 'first', '', 'last'):
      table.add_column(column, justify='left' if not column else 'right')
    for name in names:
      first, last = _ends(series[name])
      table.add_row(_cell(name), first, sparkline([v for _, v in series[name]]), last)
    console.print(table)
  if run.summary:
    metrics.print_summary(run.summary, console=console)
  commands = [_visible(f'rljax {verb} {run.path}') for verb in ('samples', 'report')]
  console.print(f'next: {commands[0]}, {commands[1]}', markup=False, soft_wrap=True)


def compare(runs: Sequence[RunRecord], *, console: Any = None) -> None:
  """Prints what several runs began and ended with, a column for each.

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
  """
  from rich.table import Table

  console = console or _console()
  records = [run.evaluations() for run in runs]
  series = [run.series(run.stages[-1]) if run.stages else {} for run in runs]
  table = Table(title='first → last', title_justify='left')
  for title in ('', *(run.title for run in runs)):
    table.add_column(_cell(title), justify='right' if title else 'left', overflow='fold')
  table.add_row('state', *(f'{run.state}, {_place(run)}' for run in runs))
  table.add_row('config, seed', *(_cell(f'{run.name}, {run.seed}') for run in runs))
  rows = [{label: cells for label, *cells, _ in metrics.summary_rows(*pair)} for pair in records]
  for label in dict.fromkeys(label for row in rows for label in row):
    table.add_row(label, *(_change(*row.get(label, (None, None))) for row in rows))
  for name in COMPARED:
    if any(name in found for found in series):
      table.add_row(name, *(_change(*_values(found.get(name, []))) for found in series))
      table.add_row('', *(sparkline([v for _, v in found.get(name, [])], 24) for found in series))
  console.print(table)


def show_samples(
  run: RunRecord, *, iteration: int | None = None, prompt: str = '', count: int = 20,
  console: Any = None,
) -> int:  # fmt: skip
  """Prints prompts, completions and rewards, by prompt; the best completion of each first.

  Args:
    iteration: None = the last one that has samples.
    prompt: text that the prompt holds; '' = any.
    count: completions at most.

  Returns:
    how many there are that were asked for; those behind `count` are counted in the last line.

  Examples:
    >>> with workdir.open_workdir('run', 'mine', {'rl': {}, 'stages': ['rl']}, seed=0):
    ...   files.write_text('run/metrics.jsonl', '')
    >>> run = report.read_run('run')
    >>> print(report.show_samples(run))
    0
  """
  from rich.text import Text

  console = console or _console()
  there = [s for s in run.samples if prompt in str(s.get('prompt'))]
  if iteration is None and there:
    iteration = there[-1]['iteration']
    there = [s for s in there if s['stage'] == there[-1]['stage']]
  chosen = [s for s in there if s['iteration'] == iteration]
  chosen.sort(key=lambda s: (s.get('draw_id', 0), -_sortable(s.get('reward'))))
  last = None
  for sample in chosen[:count]:
    place = (sample['stage'], sample['iteration'], sample.get('draw_id'))
    if place != last:
      said = _visible(f'\n{place[0]} {place[1]}  {sample.get("prompt")}')
      console.print(Text(said, style='bold'))
      last = place
    parts = ' '.join(f'{k}={_number(v)}' for k, v in (sample.get('components') or {}).items())
    cut = ' (cut off)' if sample.get('truncated') else ''
    told = _visible(f'  {_number(sample.get("reward")):>8}  {parts}{cut}')
    console.print(Text(told, style='cyan'))
    console.print(Text(_visible(f'    {sample.get("completion")}')))
  if len(chosen) > count:
    console.print(f'… {len(chosen) - count} more; --count={len(chosen)} shows them')
  return len(chosen)


def _visible(text: str) -> str:
  """Text of a model or a stranger as a terminal may print it: control characters as pictures.

  An escape would move the cursor, change the title, or write to the clipboard.
  """
  return ''.join(PICTURES.get(c, c) for c in text)


def _cell(text: str) -> str:
  """A cell of a table, in which brackets are no markup."""
  from rich.markup import escape

  return escape(_visible(text))


def sparkline(values: Iterable[float], width: int = WIDTH) -> str:
  """The values as a line of blocks, each the mean of its share; '·' where none is finite.

  Examples:
    >>> print(report.sparkline([0.0, 0.5, 1.0, float('nan')], width=4))
    ▁▅█·
  """
  values = list(values)
  size = max(1, math.ceil(len(values) / width))
  means = []
  for first in range(0, len(values), size):
    part = [v for v in values[first : first + size] if v is not None and math.isfinite(v)]
    means.append(sum(part) / len(part) if part else None)
  there = [mean for mean in means if mean is not None]
  low, high = min(there, default=0), max(there, default=0)
  scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0
  return ''.join('·' if mean is None else BLOCKS[round((mean - low) * scale)] for mean in means)


def _parts(series: dict[str, Series]) -> list[str]:
  """The components of the reward."""
  return [n for n in series if n.startswith('reward/') and n not in TOLD]


def _ends(points: Series) -> tuple[str, str]:
  first, last = _values(points)
  return _number(first), _number(last)


def _values(points: Series) -> tuple[Any, Any]:
  return (points[0][1], points[-1][1]) if points else (None, None)


def _change(first: Any, last: Any) -> str:
  return f'{_number(first)} → {_number(last)}'


def _place(run: RunRecord) -> str:
  """How far the run has come."""
  return f'{run.rows[-1]["stage"]} {run.rows[-1]["iteration"]}' if run.rows else 'nothing yet'


def _number(value: Any) -> str:
  if value is None:
    return '–'
  return f'{value:.4g}' if isinstance(value, float) else str(value)


def _sortable(reward: Any) -> float:
  return -math.inf if reward is None or math.isnan(reward) else reward


def _console() -> Any:
  from rich.console import Console

  return Console(force_jupyter=False, highlight=False)
