"""The curves of a run as PNG files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rljax import files
from rljax.metrics.summary import evaluation_record
from rljax.metrics.writers import read_metrics

BLUE, ORANGE, GREEN, GRAY = '#2a6fbb', '#d9772b', '#3c9a5f', '#8a8f98'
STYLE = {
  'font.size': 10,
  'axes.titlesize': 11,
  'axes.titleweight': 'bold',
  'axes.titlelocation': 'left',
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.edgecolor': '#b8bcc4',
  'axes.labelcolor': '#4a4f57',
  'xtick.color': '#4a4f57',
  'ytick.color': '#4a4f57',
  'axes.grid': True,
  'axes.axisbelow': True,
  'grid.color': '#e6e8ec',
  'grid.linewidth': 0.8,
  'lines.linewidth': 1.8,
  'legend.frameon': False,
  'legend.fontsize': 9,
}
Rows = Sequence[Mapping[str, Any]]


def _series(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
  points = [(row['iteration'], row[name]) for row in rows if name in row]
  return tuple(np.asarray(points, dtype=float).reshape(-1, 2).T)


def _rolling(values: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation of a window around each value; NaN values left out."""
  means, deviations = np.empty_like(values), np.empty_like(values)
  for i in range(len(values)):
    part = values[max(0, i - window // 2) : i + window // 2 + 1]
    part = part[np.isfinite(part)]
    means[i] = part.mean() if len(part) else math.nan
    deviations[i] = part.std() if len(part) else math.nan
  return means, deviations


def _line(axis: Any, x: np.ndarray, y: np.ndarray, color: str, *, band: bool = False) -> None:
  """The values, and where there are many of them a smooth line over them."""
  if len(x) < 20:
    axis.plot(x, y, color=color, marker='o', markersize=3)
    return
  window = max(5, len(x) // 20)
  means, deviations = _rolling(y, window)
  axis.plot(x, y, color=color, alpha=0.3, linewidth=0.9)
  axis.plot(x, means, color=color)
  if band:
    axis.fill_between(x, means - deviations, means + deviations, color=color, alpha=0.15, lw=0)
    note = f'± std over {window} iterations'
    axis.set_title(note, loc='right', fontsize=8, color=GRAY, weight='normal')


def _percent(axis: Any) -> None:
  from matplotlib.ticker import PercentFormatter

  axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _plain_panel(name: str, title: str, color: str, *, band: bool = False) -> Callable[..., None]:
  def draw(axis: Any, rows: Rows) -> None:
    _line(axis, *_series(rows, name), color, band=band)
    axis.set_title(title)
    axis.set_xlabel('iteration')

  return draw


def _accuracy_panel(axis: Any, rows: Rows, task: str) -> None:
  """Held-out accuracy over the iterations, its first and last value written beside it."""
  names = [f'eval/{task}/greedy', f'eval/{task}/pass@1']
  shown = [(name, color) for name, color in zip(names, (BLUE, ORANGE)) if _has(rows, name)]
  ends = []
  for name, color in shown:
    x, y = _series(rows, name)
    axis.plot(x, y, color=color, marker='o', markersize=4, label=name.rsplit('/', 1)[1])
    ends.append((x, y, color))
  for x, y, color in ends:
    other = np.mean([e[1][-1] for e in ends])
    up = y[-1] >= other
    for i in {0, len(x) - 1}:
      axis.annotate(
        f'{y[i]:.0%}',
        (x[i], y[i]),
        xytext=(0 if i else -4, (7 if i else 10) if up else -14),
        textcoords='offset points',
        ha='left' if i == 0 else 'right',
        color=color,
        fontsize=9,
      )
  low, high = axis.get_ylim()
  axis.set_ylim(max(0, low - 0.1 * (high - low)), min(1.03, high + 0.15 * (high - low)))
  axis.set_title(f'held-out accuracy, {task}')
  axis.set_xlabel('iteration')
  axis.legend(loc='best')
  _percent(axis)


def _pass_panel(axis: Any, start: Mapping[str, Any], end: Mapping[str, Any]) -> None:
  """pass@k of the start and of the end policy over k."""
  for record, label, color in ((start, 'start', GRAY), (end, 'end', BLUE)):
    points = {int(k): v for k, v in (record.get('pass@k') or {}).items() if v is not None}
    if points:
      axis.plot(list(points), list(points.values()), color=color, marker='o', ms=4, label=label)
  sizes = sorted({int(k) for r in (start, end) for k in r.get('pass@k') or {}})
  axis.set_xscale('log', base=2)
  axis.set_xticks(sizes, [str(k) for k in sizes])
  axis.minorticks_off()
  axis.set_title('pass@k, held-out')
  axis.set_xlabel('k samples')
  axis.legend(loc='lower right')
  _percent(axis)


def _has(rows: Rows, name: str) -> bool:
  return any(name in row for row in rows)


def first_and_last(rows: Rows) -> tuple[dict[str, Any], dict[str, Any]]:
  """Records of the evaluation from which the last stage set out, and of the last one.

  Examples:
    >>> scores = {0: 0.4, 2: 0.6}
    >>> rows = [{'stage': 'rl', 'iteration': i, 'eval/sorting/greedy': scores[i]} for i in scores]
    >>> start, end = metrics.first_and_last(rows)
    >>> print(start['greedy'], end['greedy'])
    0.4 0.6
  """
  found = [row for row in rows if evaluation_record(row)]
  if not found:
    return {}, {}
  last = found[-1]['stage']
  inside = [row for row in found if row['stage'] == last]
  before = [row for row in found if row['stage'] != last]
  first = before[-1] if before and inside[0]['iteration'] > 0 else inside[0]
  return evaluation_record(first), evaluation_record(found[-1])


def _panels(rows: Rows, start: Mapping, end: Mapping) -> list[Callable[[Any], None]]:
  """What there is to show, one function of an axis for each panel."""
  panels: list[Callable[[Any], None]] = []

  def add(draw: Callable[..., None], *args: Any) -> None:
    panels.append(lambda axis: draw(axis, *args))

  for stage in dict.fromkeys(row['stage'] for row in rows):
    if stage != 'rl' and _has(rows, f'{stage}/loss'):
      of_stage = [row for row in rows if row['stage'] == stage]
      add(_plain_panel(f'{stage}/loss', f'{stage} loss (nats per token)', GREEN), of_stage)
  rl = [row for row in rows if row['stage'] == 'rl']
  if _has(rl, 'reward/mean'):
    add(_plain_panel('reward/mean', 'training reward', BLUE, band=True), rl)
  evaluated = rl if any(evaluation_record(row) for row in rl) else rows
  names = [name for row in evaluated for name in row if name.startswith('eval/')]
  for task in dict.fromkeys(name.split('/')[1] for name in names):
    if any(_has(evaluated, f'eval/{task}/{what}') for what in ('greedy', 'pass@1')):
      add(_accuracy_panel, evaluated, task)
  if start.get('pass@k') or end.get('pass@k'):
    add(_pass_panel, start, end)
  for name, title, color in (
    ('policy/entropy', 'entropy (nats per token)', ORANGE),
    ('rollout/length_mean', 'completion length (tokens)', GREEN),
  ):
    if _has(rl, name):
      add(_plain_panel(name, title, color), rl)
  return panels


def _save(panels: Sequence[Callable[[Any], None]], path: Any, title: str, columns: int) -> None:
  # No pyplot: the backend and the figures of a notebook stay as they are.
  import matplotlib
  from matplotlib.figure import Figure

  with matplotlib.rc_context(STYLE):
    columns = min(columns, len(panels))
    height = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.6 * columns, 3.3 * height), layout='constrained')
    figure.suptitle(title, fontsize=9, color=GRAY, x=0.99, ha='right')
    axes = figure.subplots(height, columns, squeeze=False).ravel()
    for axis, draw in zip(axes, panels):
      draw(axis)
    for axis in axes[len(panels) :]:
      axis.set_visible(False)
    with files.atomic(path) as temporary:
      figure.savefig(temporary, dpi=140)


def plot_curves(
  workdir: files.PathLike,
  *,
  start: Mapping[str, Any] | None = None,
  end: Mapping[str, Any] | None = None,
) -> list[Any]:
  """Draws the curves of `metrics.jsonl`: losses, reward, held-out accuracy, entropy, length.

  Args:
    workdir: the work directory; `curves.png` and `pass_at_k.png` are written into it.
    start, end: evaluation records of the policies to compare; by default the evaluation from which
      the last stage set out, and the last one.

  Returns:
    the paths written; [] when there is nothing to draw.

  Examples:
    >>> writers = metrics.make_writers(('jsonl',), 'run', stages={'rl': 2})
    >>> for iteration in (1, 2):
    ...   writers.write(iteration, {'reward/mean': 0.3 * iteration}, stage='rl')
    >>> writers.close()
    >>> print([path.name for path in metrics.plot_curves('run')])
    ['curves.png']
  """
  folder = files.as_path(workdir)
  rows = read_metrics(folder)
  found = first_and_last(rows)
  start, end = start or found[0], end or found[1]
  paths, title = [], f'{folder.parent.name}/{folder.name}'
  if panels := _panels(rows, start, end):
    paths.append(folder / 'curves.png')
    _save(panels, paths[-1], title, 3)
  if start.get('pass@k') or end.get('pass@k'):
    paths.append(folder / 'pass_at_k.png')
    _save([lambda axis: _pass_panel(axis, start, end)], paths[-1], title, 1)
  return paths
