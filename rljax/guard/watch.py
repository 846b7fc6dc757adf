"""Between the loop and its writers: looks at the metrics of each iteration.

They come to the host one iteration late, so nothing waits for the devices. What has gone wrong is
counted, saved and said; the update itself has skipped its step by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rljax import files, hosts, metrics, sharding
from rljax.guard import batches
from rljax.guard.spikes import make_log_ratios, spikes
from rljax.health import HealthError
from rljax.stages import Stage
from rljax.structs import Batch, PyTree, TrainState

POLICIES = ('skip', 'stop')


class Guard:
  """Takes the place of the writer for `metrics.Delayed`.

  Args:
    path: the work directory; None: nothing is saved.
    config: of the run.
    writer: gets the metrics, with `update/spikes`.
    progress: remembers what is to be known after a resume in its `watched`, and has the
      checkpoints.
  """

  def __init__(self, path: Any, config: Any, writer: metrics.MultiWriter, progress: Any):
    self._path, self._config, self._writer, self._progress = path, config, writer, progress
    self._node = config.guard
    if self._node.nonfinite not in POLICIES:
      raise ValueError(
        f'config.guard.nonfinite is {self._node.nonfinite!r}; it is one of {str(POLICIES)[1:-1]}'
      )
    self._batches: dict[int, Batch] = {}  # by iteration, as long as it is not known how they did
    self._stage: Stage | None = None
    self._params: dict[str, PyTree] = {}
    self._log_ratios: Any = None  # the program
    self._told: set[str] = set()

  def hold(self, stage: Stage, state: TrainState, done: int, batch: Batch) -> None:
    """Keeps an iteration's batch until its metrics are there.

    Args:
      stage: where the run is.
      state: after the update.
      done: iterations of the stage, this one too.
      batch: that went into the update.
    """
    if self._stage is not stage:
      self._stage, self._log_ratios, self._batches = stage, None, {}
    self._params = state.params
    self._batches[done] = batch

  def write(
    self, iteration: int, scalars: Mapping[str, Any], *, stage: str, step: int | None = None
  ) -> None:
    """Writes the metrics of an iteration; looks at them where they are of an update.

    Raises:
      HealthError: it was not finite, and the config says that this ends the run.
    """
    if 'update/nonfinite' not in scalars:  # an evaluation
      self._writer.write(iteration, scalars, stage=stage, step=step)
      return
    seen = self._progress.watched
    if seen.get('stage') != stage:
      seen.clear()
      seen.update(stage=stage, skips=0, past={})
    found = spikes(scalars, seen['past'], factor=self._node.spike, window=self._node.window)
    self._writer.write(
      iteration, {**scalars, 'update/spikes': len(found)}, stage=stage, step=step
    )
    if found:
      self._record_spikes(iteration, found)
    skipped = int(scalars['update/nonfinite'])
    seen['skips'] = seen['skips'] + 1 if skipped else 0
    if skipped:
      self._judge(iteration, skipped, scalars, seen['skips'])
    self._batches = {done: batch for done, batch in self._batches.items() if done > iteration}

  def flush(self) -> None:
    self._writer.flush()

  def _judge(self, iteration: int, skipped: int, scalars: Mapping[str, Any], row: int) -> None:
    """Saves the batch of an update that was not finite, says so, and stops the run if it must."""
    stage, node = self._stage, self._node
    which = f'{stage.name}, iteration {iteration}'
    what = (
      f'{which}: the loss, gradient or batch of {skipped} of {stage.steps_per_iteration} steps is '
      f'not finite, which changes nothing'
    )
    where = self._save(iteration, scalars)
    print(f'{what}; {where}', flush=True)
    if node.nonfinite == 'stop':
      raise HealthError(f"{what}, and config.guard.nonfinite is 'stop'; {where}")
    if row >= node.skips:
      raise HealthError(
        f'{what}. So it was in {row} iterations in a row (config.guard.skips={node.skips}): look '
        f'at the batches, lower the learning rate or go back to an earlier checkpoint; {where}'
      )

  def _save(self, iteration: int, scalars: Mapping[str, Any]) -> str:
    """Saves the batch of an iteration; how to repeat it, or why not."""
    name = f'{self._stage.name}-{iteration:06}'
    if self._path is None:
      return 'nothing is saved'
    there = hosts.agree(batches.saved(self._path), 'the saved batches')
    if name not in there and len(there) >= self._node.batches:
      return f'its batch is not saved ({len(there)} are: config.guard.batches)'
    batch = batches.on_host(self._batches[iteration], self._stage.world.mesh)
    step = self._progress.checkpointer.latest()
    if hosts.is_first():
      record = {
        'stage': self._stage.name, 'iteration': iteration, 'checkpoint': step,
        'metrics': dict(scalars),
      }  # fmt: skip
      batches.save_batch(self._path / batches.FOLDER / name, batch, record)
    if step is not None:
      self._progress.checkpointer.pin(step)
    return f'to repeat it: rljax replay {self._path} --batch={batches.FOLDER}/{name}'

  def _record_spikes(self, iteration: int, found: Mapping[str, tuple[float, float]]) -> None:
    """Writes the samples of an iteration with spikes; says so the first time."""
    if self._path is None:
      return
    stage = self._stage
    batch, ratios = self._batches[iteration], None
    if stage.samples and 'policy' in self._params:
      if self._log_ratios is None:
        own = dict(chunk_size=stage.node.chunk_size)
        self._log_ratios = jax.jit(
          make_log_ratios(stage.world.policies, **own),
          out_shardings=sharding.replicated(stage.world.mesh),
        )
      params = {**stage.world.base, **self._params}
      ratios = np.asarray(self._log_ratios(params, batch).addressable_data(0))
    rows = batches.samples(
      batches.on_host(batch, stage.world.mesh), stage.world.tokenizer, ratios
    )
    line = {
      'stage': stage.name,
      'iteration': iteration,
      'spikes': {name: {'value': x, 'median': median} for name, (x, median) in found.items()},
      'num_samples': len(rows),
      'samples': rows[: self._node.samples],
    }
    if ratios is not None:
      line['ratios_after'] = self._progress.done  # iterations: of the parameters compared with
    if hosts.is_first():
      files.append_text(self._path / metrics.SPIKES, files.json_lines([files.plain(line)]))
    new = [name for name in found if name not in self._told]
    self._told |= {*new}
    for name in new:
      value, median = found[name]
      print(
        f'{stage.name}, iteration {iteration}: {name} is {value:.3g}, and its median '
        f'{median:.3g}; samples of such iterations are recorded in {metrics.SPIKES}',
        flush=True,
      )
