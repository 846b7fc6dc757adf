"""A run as its work directory tells it, live or finished."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from rljax import config as configs
from rljax import files, metrics
from rljax.workdir import ABSENT, WorkdirError, differences, is_held, read_config

BASE = 'default'
Series = list[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class RunRecord:
  """What stands in a work directory.

  Attributes:
    path: of the directory.
    name: of the config.
    seed: of the run.
    state: 'finished'; 'running': a process holds the directory; 'stopped': none does, and the run
      has not come to its end.
    config: resolved.
    rows: of `metrics.jsonl`, an iteration each.
    summary: of a finished run.
  """

  path: Any
  name: str
  seed: int
  state: str
  config: Mapping[str, Any]
  rows: Sequence[Mapping[str, Any]]
  summary: Mapping[str, Any] | None

  @functools.cached_property
  def samples(self) -> Sequence[Mapping[str, Any]]:
    """Of `samples.jsonl`, as far as it is written when they are asked for first."""
    path = self.path / metrics.SAMPLES
    return files.read_jsonl(path) if files.exists(path) else []

  @property
  def title(self) -> str:
    """The last two parts of the path: the config's folder and the run's."""
    return '/'.join(self.path.parts[-2:])

  @property
  def stages(self) -> list[str]:
    """Names of the stages that have begun, in order."""
    return list(dict.fromkeys(row['stage'] for row in self.rows))

  def series(self, stage: str) -> dict[str, Series]:
    """Metric → its (iteration, value), as far as it was written in the stage."""
    found: dict[str, Series] = {}
    for row in self.rows:
      if row['stage'] == stage:
        for name, value in row.items():
          if '/' in name:
            found.setdefault(name, []).append((row['iteration'], value))
    return found

  def evaluations(self) -> tuple[dict[str, Any], dict[str, Any]]:
    """Records of the evaluation from which the last stage set out, and of the last one."""
    if self.summary:
      return self.summary.get('start') or {}, self.summary.get('end') or {}
    return metrics.first_and_last(self.rows)

  def changes(self) -> dict[str, tuple[Any, Any]]:
    """Dotted key → (value of the config `default`, value of the run) where they differ.

    A function in another's place counts once, by its name and by what is given to it.
    """
    base = configs.resolve(configs.load(BASE)).to_dict()
    return {
      key: (old, new)
      for key, (old, new) in differences(base, self.config).items()
      if new != ABSENT  # belongs to a function that another has replaced
    }


def read_run(workdir: files.PathLike) -> RunRecord:
  """Reads what a run has written so far.

  Raises:
    WorkdirError: no run of rljax has its work directory there.

  Examples:
    >>> with workdir.open_workdir('run', 'mine', {'rl': {}, 'stages': ['rl']}, seed=0):
    ...   files.write_text('run/metrics.jsonl', '')
    >>> run = report.read_run('run')
    >>> print(run.stages, len(run.rows), len(run.samples))
    [] 0 0
  """
  path = files.as_path(workdir)
  if not files.exists(path / 'config.json'):
    raise WorkdirError(f'{path}: no run of rljax is there (no config.json)')
  began = read_config(path)
  summary = metrics.read_summary(path)
  return RunRecord(
    path=path,
    name=began['name'],
    seed=began['seed'],
    state='finished' if summary else 'running' if is_held(path) else 'stopped',
    config=began['config'],
    rows=metrics.read_metrics(path) if files.exists(path / metrics.METRICS) else [],
    summary=summary,
  )
