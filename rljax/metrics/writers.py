"""Metric writers: chosen by name, one record of scalars for an iteration, exactly once.

The interface is rljax's own and thin: clu's MetricWriter knows no stages and no samples table, has
nothing to cut after a resume, and its package imports TensorFlow. A writer that follows clu's
interface (`write_scalars(step, scalars)`, `flush`, `close`) is taken by the dotted name of a
function that makes it from the work directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rljax import binding, files, hosts
from rljax.metrics import sinks
from rljax.metrics.names import check_name

NAMES = ('console', 'jsonl', 'tensorboard', 'wandb')


class Timeline:
  """The order of iterations in a run: stage by stage, each with 0 (its start) … n.

  Attributes:
    stages: name -> number of iterations.
  """

  def __init__(self, stages: Mapping[str, int]):
    self.stages = dict(stages)

  def row(self, stage: str, iteration: int) -> int:
    """A number that grows along the run: the x-axis of writers that know no stages."""
    row = iteration
    for name, iterations in self.stages.items():
      if name == stage:
        return row
      row += iterations + 1
    raise sinks.WriterError(f'stage {stage!r} is none of {", ".join(self.stages)}')


class MultiWriter:
  """Gives each iteration to all writers, once, with names of the vocabulary.

  Args:
    writers: the writers.
    timeline: the run's stages.
  """

  def __init__(self, writers: Sequence[sinks.Writer], timeline: Timeline):
    self.writers = list(writers)
    self.timeline = timeline

  def write(
    self, iteration: int, scalars: Mapping[str, Any], *, stage: str, step: int | None = None
  ) -> None:
    """Writes the metrics of an iteration.

    Args:
      iteration: 0 = the start of the stage, before any update; n = after n updates.
      scalars: name -> number or scalar array on the host (`Delayed` brings them there).
      stage: name of the stage.
      step: optimizer steps of the stage so far.
    """
    stages = tuple(self.timeline.stages)
    numbers = {check_name(k, stages): sinks.to_number(k, v) for k, v in scalars.items()}
    record = self._record(iteration, stage, step)
    row = self.timeline.row(stage, iteration)
    for writer in self.writers:
      writer.write(row, record, numbers)

  def samples(
    self, iteration: int, rows: Sequence[Mapping[str, Any]], *, stage: str, step: int | None = None
  ) -> None:
    """Writes samples: dicts with prompt, completion, reward, components and ids."""
    record = self._record(iteration, stage, step)
    for writer in self.writers:
      writer.samples(self.timeline.row(stage, iteration), record, rows)

  def flush(self) -> None:
    """Everything written so far survives a kill; called before a checkpoint is saved."""
    for writer in self.writers:
      writer.flush()

  def close(self) -> None:
    for writer in self.writers:
      writer.close()

  def __enter__(self) -> MultiWriter:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _record(self, iteration: int, stage: str, step: int | None) -> dict[str, Any]:
    record = {'stage': stage, 'iteration': int(iteration)}
    return record if step is None else {**record, 'step': int(step)}


class Delayed:
  """Writes metrics one iteration late, so that the device is never waited for.

  Args:
    writer: where they go.
  """

  def __init__(self, writer: MultiWriter):
    self._writer = writer
    self._held: tuple[tuple[str, int], dict[str, Any], int | None] | None = None

  def write(
    self, iteration: int, metrics: Mapping[str, Any], *, stage: str, step: int | None = None
  ) -> None:
    """Holds `metrics` (numbers or jax arrays) and writes those held before.

    A second call for the same iteration adds to what is held.
    """
    place = (stage, int(iteration))
    if self._held is not None and self._held[0] == place:
      self._held[1].update(metrics)
      return
    self._write_held()
    self._held = (place, dict(metrics), step)

  def flush(self) -> None:
    """Writes what is held, to stay; called before a checkpoint is saved and at the end."""
    self._write_held()
    self._writer.flush()

  def _write_held(self) -> None:
    if self._held is None:
      return
    import jax

    (stage, iteration), metrics, step = self._held
    self._held = None
    self._writer.write(iteration, jax.device_get(metrics), stage=stage, step=step)


def cut(workdir: files.PathLike, timeline: Timeline, after: tuple[str, int] | None) -> None:
  """Drops metrics, samples and spikes behind (stage, iteration) `after`; None: all of them.

  Examples:
    >>> writers = metrics.make_writers(('jsonl',), 'run', stages={'rl': 2})
    >>> for iteration in (1, 2):
    ...   writers.write(iteration, {'reward/mean': 0.3 * iteration}, stage='rl')
    >>> writers.close()
    >>> metrics.cut('run', writers.timeline, ('rl', 1))
    >>> print([row['iteration'] for row in metrics.read_metrics('run')])
    [1]
  """
  last = -1 if after is None else timeline.row(*after)

  def keep(line: Mapping[str, Any]) -> bool:
    known = line['stage'] in timeline.stages
    return known and timeline.row(line['stage'], line['iteration']) <= last

  for name in (sinks.METRICS, sinks.SAMPLES, sinks.SPIKES):
    files.truncate_jsonl(files.as_path(workdir) / name, keep)


def make_writers(
  names: Sequence[str],
  workdir: files.PathLike,
  *,
  stages: Mapping[str, int],
  after: tuple[str, int] | None = None,
  config: Any = None,
) -> MultiWriter:
  """The writers of a run, after a cut of what an earlier start wrote too much; the first host's.

  Args:
    names: of 'console', 'jsonl', 'tensorboard', 'wandb', and dotted names of functions that make a
      writer of clu's interface from the work directory.
    workdir: the work directory.
    stages: name -> iterations, in order.
    after: (stage, iteration) of the checkpoint from which the run goes on; None: from the start.
    config: plain dict shown by wandb.

  Raises:
    WriterError: an unknown name (with near ones), or a package that is missing.

  Examples:
    >>> writers = metrics.make_writers(('jsonl',), 'run', stages={'rl': 2})
    >>> for iteration in (1, 2):
    ...   writers.write(iteration, {'reward/mean': 0.3 * iteration}, stage='rl')
    >>> writers.close()
    >>> print(files.read_jsonl('run/metrics.jsonl')[0]['reward/mean'])
    0.3
  """
  timeline = Timeline(stages)
  if not hosts.is_first():
    return MultiWriter([], timeline)
  for name in names:
    if name not in NAMES and '.' not in name:
      hint = binding.near(name, NAMES)
      raise sinks.WriterError(f'writer {name!r} is none of {", ".join(NAMES)}{hint}')
  cut(workdir, timeline, after)
  first_row = 0 if after is None else timeline.row(*after) + 1
  writers: list[sinks.Writer] = []
  for name in names:
    if name == 'console':
      from rljax.metrics.console import ConsoleWriter

      writers.append(ConsoleWriter(timeline.stages))
    elif name == 'jsonl':
      writers.append(sinks.JsonlWriter(workdir))
    elif name == 'tensorboard':
      writers.append(sinks.TensorboardWriter(workdir, first_row))
    elif name == 'wandb':
      writers.append(sinks.WandbWriter(workdir, config))
    else:
      writers.append(sinks.CluWriter(binding.resolve(name)(workdir)))
  return MultiWriter(writers, timeline)


def read_metrics(workdir: files.PathLike) -> list[dict[str, Any]]:
  """The lines of `metrics.jsonl`, with NaN and infinities again.

  Examples:
    >>> writers = metrics.make_writers(('jsonl',), 'run', stages={'rl': 2})
    >>> for iteration in (1, 2):
    ...   writers.write(iteration, {'reward/mean': 0.3 * iteration}, stage='rl')
    >>> writers.close()
    >>> print([row['reward/mean'] for row in metrics.read_metrics('run')])
    [0.3, 0.6]
  """
  rows = files.read_jsonl(files.as_path(workdir) / sinks.METRICS)
  try:
    for row in rows:
      row.update({name: float(text) for name, text in row.pop('nonfinite', {}).items()})
  except (AttributeError, TypeError) as error:
    raise ValueError(f'{workdir}/{sinks.METRICS}: a line is no row of metrics: {error}') from None
  return rows
