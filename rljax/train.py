"""A run: its stages one after the other, evaluated before and after, stopped and continued exactly.

The loop is `Run.run_stage`; what an iteration does is said by the stage (`rljax.stages`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rljax import config as configs
from rljax import devices, files, health, hosts, interruptions, metrics, out_of_memory
from rljax.assembly import World, assemble
from rljax.build_model import MODEL
from rljax.guard import Guard
from rljax.health import HealthError
from rljax.progress import Progress, is_due, set_aside
from rljax.stages import Stage, make_stage, trial
from rljax.structs import PyTree, TrainState
from rljax.workdir import default_workdir, open_workdir, versions

__all__ = ['HealthError', 'default_workdir', 'train']

PATIENCE = 3.0  # seconds of a compilation before a line says so
NEXT = ('look at {}/curves.png', 'rljax report {}', 'rljax samples {}')


def train(
  config: Any,
  *,
  workdir: str | None = None,
  seed: int | None = None,
  restart: bool = False,
  accept_config_change: Sequence[str] = (),
  name: str = 'run',
) -> dict[str, Any]:
  """Trains as a config says, or continues the run of a work directory.

  Args:
    config: ConfigDict or nested dict, resolved or not.
    workdir: where everything is written; None: a new `runs/<name>/<date-time>-s<seed>`.
    seed: instead of the config's.
    restart: moves an old run in `workdir` aside.
    accept_config_change: keys that may differ from the config of the run that is continued.
    name: of the config, for a new work directory.

  Returns:
    The summary: start and end evaluation, cost, versions.

  Raises:
    ValueError: config, data, files or work directory are not as they must be.
    HealthError: the first RL iterations show that nothing can be learnt, or updates are not finite.
    DeviceError: config.deterministic comes too late for the GPU.
    Interrupted: SIGTERM or SIGINT came; the iteration is ended and saved (`rljax.interruptions`).
    OutOfMemoryError: a device has no memory left; says what stands there and three knobs.
  """
  given = configs.plain(config)
  config = configs.resolve(given if seed is None else {**given, 'seed': seed})
  if config.deterministic:
    devices.make_deterministic()
  opened = (workdir, name, config.to_dict(), config.seed)
  with (
    hosts.together(**config.hosts),
    interruptions.heard() as interruption,
    open_workdir(*opened, restart=restart, accept=accept_config_change) as work,
    out_of_memory.explained(config) as held,
  ):
    print(f'workdir {work.path}', *work.notes, sep='\n', flush=True)
    if work.finished:
      metrics.print_summary(work.summary, next_commands=[n.format(work.path) for n in NEXT])
      return work.summary
    with metrics.CompileWatch(PATIENCE) as compiled, metrics.MemoryWatch() as memory:
      while True:  # again, when the newest checkpoint was set aside
        with set_aside(work.path), contextlib.closing(assemble(config)) as world:
          print(world.overview(), *world.warnings(), *devices.warnings(), sep='\n', flush=True)
          watches = {'compiled': compiled, 'memory': memory}
          progress = Progress(work.path, keep=config.keep_checkpoints, **watches)
          return Run(world, work.path, progress, interruption, held).go()


class Run:
  """A run in the middle of it; all that it remembers is in `progress` and the train state."""

  def __init__(
    self,
    world: World,
    path: Any,
    progress: Progress,
    interruption: interruptions.Interruption,
    held: dict[str, Any],
  ):
    self.world, self.config, self.path, self.progress = world, world.config, path, progress
    self.interruption, self.held = interruption, held  # what stands on the devices, by kind
    for name in self.config.stages:
      trial.try_update(make_stage(name, world))  # what is wrong with a later stage is said now
    stages = {name: self.config[name].iterations for name in self.config.stages}
    place = (self.config.stages[progress.stage], progress.done) if progress.resumed else None
    if place:
      print(f'continues after iteration {place[1]} of stage {place[0]}', flush=True)
    elif path and hosts.is_first():  # a replay has none
      files.write_json(path / MODEL, world.model)
    self.writers = self.open_writers(stages=stages, after=place)
    self.guard = Guard(path, self.config, self.writers, progress)
    self.delayed = metrics.Delayed(self.guard)

  def open_writers(self, **told: Any) -> metrics.MultiWriter:
    """The writers; what they have written behind the checkpoint goes."""
    names, config = self.config.writers, self.config.to_dict()
    return metrics.make_writers(names, self.path, config=config, **told)

  def go(self) -> dict[str, Any]:
    """All stages that are left, then the summary."""
    self.interruption.waits = True
    try:
      params, last = dict(self.world.params), len(self.config.stages) - 1
      for index in range(self.progress.stage, last + 1):
        stage, state, frozen = self.progress.enter(index, self.world, params)
        self.held.update(parameters=state.params, optimizer=state.opt_state, frozen=frozen)
        if index == last and not self.progress.start:
          self.progress.start = self.evaluate(stage, {**params, **state.params}, frozen)
        if not self.progress.done:
          self.save(stage, state)
        params |= self.run_stage(stage, state, frozen, params, is_last=index == last).params
      return self.finish()
    finally:
      self.progress.checkpointer.close()
      self.writers.close()

  def run_stage(
    self, stage: Stage, state: TrainState, frozen: dict, others: Mapping, *, is_last: bool
  ) -> TrainState:
    """The loop: collect samples, update, write metrics one iteration late, save."""
    progress, history = self.progress, []
    while progress.done < stage.iterations and not progress.stopped:
      started = time.perf_counter()
      collected = stage.collect(state, progress.done)
      state, seen = stage.update(state, frozen, collected.batch, stage.hyper(progress.done))
      progress.count(stage.draws, collected.metrics['rollout/tokens'] if stage.samples else 0)
      self.guard.hold(stage, state, progress.done, collected.batch)
      told = {**collected.metrics, **stage.rename(seen)}
      state, reference = stage.renew(state, frozen, progress.done, told)
      progress.keep_reference(frozen, reference)
      costs = {'time/iteration': time.perf_counter() - started, **metrics.device_memory()}
      step = progress.done * stage.steps_per_iteration
      self.delayed.write(progress.done, {**told, **costs}, stage=stage.name, step=step)
      self.writers.samples(progress.done, collected.rows, stage=stage.name)
      if stage.learns_from_reward and len(history) < self.config.health_iterations:
        history.append(collected.metrics)
        health.check(self.config, history, progress.done)
      progress.stopped = stage.is_good_enough(state, progress.done)
      ends = progress.stopped or progress.done == stage.iterations
      due = stage.samples and is_due(progress.done, self.config.evaluation.every)
      if due or (ends and is_last):
        found = self.evaluate(stage, {**others, **state.params}, frozen)
        progress.end = found if ends and is_last else progress.end
      leaves = self.interruption.is_due()
      if ends or leaves or is_due(progress.done, self.config.checkpoint_every):
        self.save(stage, state)
      if leaves:
        progress.checkpointer.wait()
        self.interruption.leave(f'iteration {progress.done} of stage {stage.name} is saved')
    return state

  def save(self, stage: Stage, state: TrainState) -> None:
    self.delayed.flush()
    self.progress.save(stage, state)

  def evaluate(
    self, stage: Stage, params: dict[str, PyTree], frozen: dict[str, PyTree]
  ) -> dict[str, float]:
    """Held-out metrics of what the stage trains, written under its present iteration."""
    started = time.perf_counter()
    found = stage.evaluate(params, frozen)
    scalars = {f'eval/{self.world.task.name}/{k}': v for k, v in found.items()}
    scalars['time/evaluation'] = time.perf_counter() - started
    self.delayed.write(self.progress.done, scalars, stage=stage.name)
    return scalars

  def finish(self) -> dict[str, Any]:
    """Draws the curves, writes and prints the summary."""
    self.delayed.flush()
    self.progress.checkpointer.wait()
    if hosts.is_first():
      metrics.plot_curves(self.path)
      for line in health.lost(metrics.read_metrics(self.path)):
        print(line)
    summary = metrics.write_summary(
      self.path,
      start=self.progress.start,
      end=self.progress.end or self.progress.start,  # there may have been no iteration
      **self.progress.cost(),
      tokens=self.progress.tokens,
      config=self.config.to_dict(),
      versions=versions(),
      seed=self.config.seed,
    )
    metrics.print_summary(summary, next_commands=[n.format(self.path) for n in NEXT])
    return summary
