"""The page of a run: one HTML file that needs nothing else, neither network nor this library."""

from __future__ import annotations

import html
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from rljax import files, metrics
from rljax.report.runs import RunRecord, Series, read_run

PAGE = 'report.html'
TEMPLATE = pathlib.Path(__file__).with_name('page.html')
MOST_POINTS = 600  # of a curve; a longer one is shown by means, and says so
MOST_SAMPLES = 3000  # in the browser of samples; the others stand in samples.jsonl, and it says so


def write_page(workdir: files.PathLike, path: files.PathLike | None = None) -> Any:
  """Writes the report of a run, live or finished: curves, parts of the reward, samples, config.

  What models wrote is data of the page and never part of its HTML.

  Args:
    workdir: of the run.
    path: of the page; None: `report.html` in the work directory.

  Returns:
    the path.

  Raises:
    WorkdirError: no run is there.

  Examples:
    >>> with workdir.open_workdir('run', 'mine', {'rl': {}, 'stages': ['rl']}, seed=0):
    ...   files.write_text('run/metrics.jsonl', '')
    >>> run = report.read_run('run')
    >>> print(report.write_page('run').name)
    report.html
  """
  run = read_run(workdir)
  target = files.as_path(path) if path else run.path / PAGE
  text = files.read_text(TEMPLATE)
  for mark, value in (('{{title}}', html.escape(run.title)), ('{{data}}', _embedded(_data(run)))):
    text = text.replace(mark, value)
  files.write_text(target, text)
  return target


def _data(run: RunRecord) -> dict[str, Any]:
  start, end = run.evaluations()
  samples = _spread(run.samples, MOST_SAMPLES)
  return {
    'title': run.title,
    'facts': _facts(run),
    'table': [[label, *values] for label, *values in metrics.summary_rows(start, end)],
    'passes': [start.get('pass@k') or {}, end.get('pass@k') or {}],
    'stages': {
      stage: {name: _thinned(points) for name, points in run.series(stage).items()}
      for stage in run.stages
    },
    'samples': [{k: v for k, v in s.items() if k not in ('prompt_id',)} for s in samples],
    'all_samples': len(run.samples),
    'changes': [[key, *pair] for key, pair in sorted(run.changes().items())],
  }


def _facts(run: RunRecord) -> dict[str, Any]:
  facts = {'config': run.name, 'seed': run.seed, 'state': run.state}
  if run.summary:
    given = run.summary
    facts['time'] = metrics.duration(given['seconds'])
    facts['compiling'] = metrics.duration(given['compile_seconds'])
    facts['peak memory'] = f'{given["peak_mib"]:,.0f} MiB'
    facts['tokens sampled'] = f'{given["tokens"]:,}'
    facts |= given['versions']
  return facts


def _thinned(points: Series) -> dict[str, Any]:
  """A curve of MOST_POINTS at most: means of neighbours; iterations without a number are listed."""
  size = math.ceil(len(points) / MOST_POINTS)
  finite = [(x, y) for x, y in points if y is not None and math.isfinite(y)]
  parts = [finite[i : i + size] for i in range(0, len(finite), max(size, 1))]
  return {
    'x': [part[-1][0] for part in parts],
    'y': [float(f'{sum(y for _, y in part) / len(part):.6g}') for part in parts],
    'of': size,
    'nonfinite': [x for x, y in points if y is None or not math.isfinite(y)],
  }


def _spread(samples: Sequence[Any], most: int) -> list[Any]:
  """Samples of whole groups, evenly over the run."""
  if len(samples) <= most:
    return list(samples)
  groups: dict[Any, list[Any]] = {}
  for sample in samples:
    groups.setdefault((sample['stage'], sample['iteration'], sample.get('draw_id')), []).append(
      sample
    )
  every = math.ceil(len(samples) / most)
  return [sample for group in list(groups.values())[::every] for sample in group]


def _embedded(data: Any) -> str:
  """JSON inside a script element: no text of a model can end it."""
  text = json.dumps(files.plain(data, nonfinite=lambda _: None), ensure_ascii=False)
  return text.replace('<', '\\u003c').replace('\u2028', '\\u2028').replace('\u2029', '\\u2029')
