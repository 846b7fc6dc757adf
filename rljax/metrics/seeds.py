"""Several runs of one config that differ in their seed: means with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rljax.metrics.summary import summary_rows

LEVEL = 0.95


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
  """(mean, half width of its 95 % t interval; NaN for a single value).

  Examples:
    >>> metrics.mean_interval([0.1, 0.2, 0.3])
    (0.2, 0.2484)
  """
  from scipy import stats

  mean = math.fsum(values) / len(values)
  if len(values) < 2:
    return mean, math.nan
  error = float(stats.sem(values))
  return mean, error * float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1))


def print_seeds(summaries: Sequence[Mapping[str, Any]], *, console: Any = None) -> None:
  """Prints start, end and gain on held-out problems: mean over the seeds ± half a 95 % interval.

  Args:
    summaries: of the runs, as `write_summary` returns them.
    console: a rich console (tests).

  Examples:
    >>> start, ends = {'greedy': 0.4}, (0.50, 0.52, 0.54)
    >>> runs = [{'seed': i, 'start': start, 'end': {'greedy': x}} for i, x in enumerate(ends)]
    >>> metrics.print_seeds(runs)
    held-out problems, seeds 0, 1, 2
    ┏━━━━━━━━┳━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
    ┃        ┃        start ┃          end ┃          gain ┃
    ┡━━━━━━━━╇━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
    │ greedy │ 40.0 ± 0.0 % │ 52.0 ± 5.0 % │ +12.0 ± 5.0 % │
    └────────┴──────────────┴──────────────┴───────────────┘
    mean ± half of a 95 % t interval over 3 seeds
  """
  from rich.console import Console
  from rich.table import Table

  console = console or Console(force_jupyter=False, highlight=False)
  seeds = ', '.join(str(summary.get('seed')) for summary in summaries)
  table = Table(title=f'held-out problems, seeds {seeds}', title_justify='left')
  table.add_column('')
  for column in ('start', 'end', 'gain'):
    table.add_column(column, justify='right')
  each = [summary_rows(s.get('start') or {}, s.get('end') or {}) for s in summaries]
  for label, _, _, kind in each[0]:
    rows = [row for rows in each for row in rows if row[0] == label]
    ends = [(first, last) for _, first, last, _ in rows]
    cells = [_cell([e[i] for e in ends], kind) for i in range(2)]
    gains = [None if None in e else e[1] - e[0] for e in ends]
    table.add_row(label, *cells, _cell(gains, kind, sign='+'))
  if table.row_count:
    console.print(table)
  console.print(f'mean ± half of a 95 % t interval over {len(summaries)} seeds', markup=False)


def _cell(values: Sequence[float | None], kind: str, sign: str = '') -> str:
  if not values or None in values:
    return '–'
  scale, unit = (100, ' %') if kind == 'fraction' else (1, '')
  mean, half = (scale * x for x in mean_interval(values))
  text = format(mean, f'{sign}.1f')
  return f'{text}{unit}' if math.isnan(half) else f'{text} ± {half:.1f}{unit}'
