"""One readable line for each iteration; on a terminal with a progress bar below."""

from __future__ import annotations

import math
import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

# (metric, label, format), most important first; the last ones go where the line is too narrow.
COUNTS = ('length_mean', 'distinct')  # of an evaluation; the others are fractions
RL_FIELDS = (
  ('reward/mean', 'reward', '.3f'),
  ('policy/entropy', 'entropy', '.3f'),
  ('rollout/length_mean', 'length', '.1f'),
  ('policy/kl_ref', 'kl', '.4f'),
  ('rollout/truncated', 'truncated', '.0%'),
  ('policy/loss', 'loss', '.4f'),
  ('update/grad_norm', 'grad', '.2f'),
)
STAGE_FIELDS = (
  ('{stage}/loss', 'loss', '.4f'),
  ('{stage}/accuracy', 'accuracy', '.1%'),
  ('{stage}/margin', 'margin', '.3f'),
  ('update/lr', 'lr', '.1e'),
  ('update/grad_norm', 'grad', '.2f'),
)
QUIET_SECONDS = 1.0  # between two lines of a stage other than 'rl'
# Shown as soon as they are not 0.
ALARMS = (
  ('reward/errors', 'reward errors'),
  ('reward/timeouts', 'reward timeouts'),
  ('update/skipped', 'skipped updates'),
  ('update/nonfinite', 'not finite'),
)


def duration(seconds: float) -> str:
  """'0:07', '12:05', '1:02:03'.

  Examples:
    >>> print(metrics.duration(7), metrics.duration(3723))
    0:07 1:02:03
  """
  minutes, rest = divmod(round(max(seconds, 0)), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02}:{rest:02}' if hours else f'{minutes}:{rest:02}'


def _natural(name: str) -> list[Any]:
  return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)]


class Pace:
  """Time left in a stage, from the median of the last intervals (the first one compiles)."""

  def __init__(self) -> None:
    self._stage, self._last, self._intervals = '', 0.0, []

  def tick(self, stage: str, now: float) -> float | None:
    """Seconds of one iteration; None where that would be the time of a compilation."""
    if stage != self._stage:
      self._stage, self._intervals = stage, []
    else:
      self._intervals.append(now - self._last)
    self._last = now
    recent = self._intervals[1:]
    return statistics.median(recent[-20:]) if recent else None


def iteration_line(
  place: str, stage: str, scalars: Mapping[str, float], tail: Sequence[str], width: int
) -> str:
  """The line of an iteration; as many fields as `width` characters hold."""
  fields = RL_FIELDS if stage == 'rl' else STAGE_FIELDS
  parts, ending = [place], ''.join(f'  {text}' for text in tail)
  alarms = [f'{scalars[n]:g} {text}' for n, text in ALARMS if scalars.get(n)]
  shown = [(m.format(stage=stage), label, form) for m, label, form in fields]
  texts = [f'{label} {_number(scalars[m], form)}' for m, label, form in shown if m in scalars]
  for text in [*texts[:1], *(f'!{alarm}' for alarm in alarms), *texts[1:]]:
    if len('  '.join([*parts, text])) + len(ending) > width:
      break
    parts.append(text)
  return '  '.join(parts) + ending


def _number(value: float, form: str) -> str:
  return format(value, form) if math.isfinite(value) else str(value)


def evaluation_lines(place: str, scalars: Mapping[str, float], width: int) -> list[str]:
  """One line for each task that was evaluated, in percent; folded at `width`."""
  tasks: dict[str, dict[str, float]] = {}
  for name, value in scalars.items():
    if name.startswith('eval/'):
      _, task, what = name.split('/', 2)
      tasks.setdefault(task, {})[what] = value
  lines = []
  for task, values in tasks.items():
    line = f'{place}  eval {task}:'
    order = sorted(values, key=lambda what: (what != 'greedy', '@' not in what, _natural(what)))
    for what in [what for what in order if not _says_nothing(what, values)]:
      label = what.removeprefix('component/')
      text = f'{label} {_number(values[what], ".1f" if what in COUNTS else ".1%")}'
      if len(line) + 2 + len(text) > width:
        lines.append(line)
        line = ' ' * (len(place) + 1)
      line += f'  {text}'
    lines.append(line)
  return lines


def _says_nothing(what: str, values: Mapping[str, float]) -> bool:
  """True for standard errors, no errors, an avg@n beside pass@1, which is the same number, and
  rewards and their parts, which need not be fractions: all but the lenient accuracy.
  """
  if what.startswith('component/'):
    return what != 'component/lenient'
  if what.startswith('avg@'):
    return 'pass@1' in values
  return what == 'reward' or what.endswith('_se') or (what == 'errors' and not values[what])


def samples_table(rows: Sequence[Mapping[str, Any]], *, limit: int = 8) -> Any:
  """A rich table of the first samples: prompt, completion, reward and its components."""
  from rich.markup import escape
  from rich.table import Table

  table = Table(show_lines=True, expand=False)
  table.add_column('prompt', overflow='fold', ratio=3)
  table.add_column('completion', overflow='fold', ratio=5)
  table.add_column('reward', justify='right', no_wrap=True)
  for row in rows[:limit]:
    reward = row.get('reward')
    text = '–' if reward is None or reward != reward else f'{float(reward):.2f}'
    for name, value in (row.get('components') or {}).items():
      text += f'\n{name} {value if value is None else format(float(value), ".2f")}'
    prompt, completion = (_visible(str(row.get(k, ''))) for k in ('prompt', 'completion'))
    table.add_row(escape(prompt), escape(completion), text)
  return table


def _visible(text: str) -> str:
  """The text with control characters spelled out: a sample may hold anything."""
  return ''.join(c if c.isprintable() or c == '\n' else repr(c)[1:-1] for c in text)


class ConsoleWriter:
  """Prints; a progress bar only on a terminal, plain lines in files, pipes and notebooks.

  Args:
    stages: name -> iterations.
    console: a rich console (tests); by default standard output.
    show_samples: print a table of the samples as well.
  """

  def __init__(self, stages: Mapping[str, int], *, console: Any = None, show_samples: bool = False):
    from rich.console import Console

    # rich's own display of notebooks breaks lines apart; plain text reads well there.
    self._console = console or Console(force_jupyter=False, highlight=False)
    self._stages = dict(stages)
    self._show_samples = show_samples
    self._pace, self._progress, self._task, self._stage = Pace(), None, None, ''
    self._printed = -QUIET_SECONDS

  def write(self, row: int, record: Mapping[str, Any], scalars: Mapping[str, float]) -> None:
    stage, iteration = record['stage'], record['iteration']
    total = self._stages[stage]
    seconds = self._pace.tick(stage, time.monotonic())
    place = f'{stage} {iteration:>{len(str(total))}}/{total}'
    live = self._bar(stage, iteration, total, seconds)
    tail = [] if seconds is None else [f'{seconds:.2f}s' if seconds < 10 else f'{seconds:.0f}s']
    if seconds is not None and not live:
      tail.append(f'ETA {duration(seconds * (total - iteration))}')
    shown = any(not name.startswith(('eval/', 'time/', 'memory/')) for name in scalars)
    if shown and self._is_due(stage, iteration == total):
      self._print(iteration_line(place, stage, scalars, tail, self._console.width))
    for line in evaluation_lines(place, scalars, self._console.width):
      self._print(line, style='bold cyan')

  def _is_due(self, stage: str, is_last: bool) -> bool:
    """True for each iteration of RL; stages of many quick steps have a line a second."""
    now = time.monotonic()
    if stage != 'rl' and not is_last and now - self._printed < QUIET_SECONDS:
      return False
    self._printed = now
    return True

  def samples(self, row: int, record: Mapping[str, Any], rows: Sequence[Mapping]) -> None:
    if self._show_samples:
      self._console.print(samples_table(rows))

  def _print(self, text: str, style: str = '') -> None:
    from rich.text import Text

    # The style belongs to the text: given to print() it would colour the progress bar, too.
    self._console.print(Text(text, style=style), soft_wrap=True)
    if self._console.file is sys.stdout:
      sys.stdout.flush()  # lines appear in a pipe as they come

  def _bar(self, stage: str, iteration: int, total: int, seconds: float | None) -> bool:
    if not self._console.is_terminal:
      return False
    if self._progress is None:
      from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

      self._progress = Progress(
        TextColumn('{task.description}'),
        BarColumn(bar_width=None),
        TextColumn('{task.completed}/{task.total}'),
        TimeElapsedColumn(),
        TextColumn('{task.fields[left]}'),
        console=self._console,
        refresh_per_second=4,
        transient=True,
        expand=True,
      )
      self._progress.start()
    if stage != self._stage:
      if self._task is not None:
        self._progress.remove_task(self._task)
      self._task = self._progress.add_task(stage, total=total, left='')
      self._stage = stage
    left = '' if seconds is None else f'ETA {duration(seconds * (total - iteration))}'
    self._progress.update(self._task, completed=iteration, left=left)
    return True

  def flush(self) -> None:
    pass

  def close(self) -> None:
    if self._progress is not None:
      self._progress.stop()
      self._progress = None
      self._task, self._stage = None, ''
