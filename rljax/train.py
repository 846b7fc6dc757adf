"""A run: its stages one after the other, evaluated before and after, stopped and continued exactly.

The loop is `Run.run_stage`; what an iteration does is said by the stage (`rljax.stages`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from rljax import config as configs
from rljax import files, metrics
from rljax.assembly import MODEL, World, assemble
from rljax.checkpoint import FOLDER, Checkpointer
from rljax.evaluation import evaluate
from rljax.stages import KINDS, Stage, is_hopeless
from rljax.structs import PyTree, TrainState
from rljax.workdir import default_workdir, open_workdir, versions

__all__ = ['HealthError', 'default_workdir', 'train']

DEV_PROMPTS = 256  # held-out prompts behind those of the evaluation, for an early stop of SFT


class HealthError(RuntimeError):
  """The run cannot learn anything as it is set up; the message says why."""


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
    HealthError: the first RL iterations show that nothing can be learnt.
  """
  given = configs.plain(config)
  config = configs.resolve(given if seed is None else {**given, 'seed': seed})
  work = open_workdir(
    workdir, name, config.to_dict(), config.seed, restart=restart, accept=accept_config_change
  )
  with work:
    print(f'workdir {work.path}', *work.notes, sep='\n', flush=True)
    if work.finished:
      metrics.print_summary(work.summary, next_commands=_next_commands(work.path))
      return work.summary
    with metrics.CompileWatch() as compiled, metrics.MemoryWatch() as memory:
      world = assemble(config)
      try:
        return Run(world, work.path, compiled, memory).go()
      finally:
        world.close()


class Run:
  """What a run is in the middle of; all of it is in its checkpoints."""

  def __init__(self, world: World, path: Any, compiled: Any, memory: Any):
    self.world, self.config, self.path = world, world.config, path
    self.compiled, self.memory = compiled, memory
    self.key = jax.random.key(self.config.seed)
    self.checkpointer = Checkpointer(path / FOLDER, keep=self.config.keep_checkpoints)
    self.began = time.perf_counter()
    # What is remembered from one start of the run to the next.
    self.record = {'stage': 0, 'done': 0, 'draws': 0, 'saves': 0, 'tokens': 0}
    self.record |= {'seconds': 0.0, 'compile_seconds': 0.0, 'peak_mib': 0.0}
    self.record |= {'start': {}, 'state': None, 'reference': None}
    self.earlier = dict(self.record)
    latest = self.checkpointer.latest()
    if latest is not None:
      self.record = self.checkpointer.host()
      self.earlier = dict(self.record)
    names = list(self.config.stages)
    place = None if latest is None else (names[self.record['stage']], self.record['done'])
    self.writers = metrics.make_writers(
      self.config.writers,
      path,
      stages={name: self.config[name].iterations for name in names},
      after=place,
      config=self.config.to_dict(),
    )
    self.delayed = metrics.Delayed(self.writers)
    if latest is None:
      files.write_json(path / MODEL, world.model)
    else:
      print(f'continues after iteration {place[1]} of stage {place[0]}', flush=True)

  def go(self) -> dict[str, Any]:
    """All stages that are left, then the summary."""
    try:
      params = self.world.params
      for index in range(self.record['stage'], len(self.config.stages)):
        stage, state, frozen = self.enter(index, params)
        state = self.run_stage(stage, state, frozen)
        params = {**params, **state.params}
      return self.finish(stage, state)
    finally:
      self.checkpointer.close()
      self.writers.close()

  def enter(self, index: int, params: dict[str, PyTree]) -> tuple[Stage, TrainState, dict]:
    """The stage with its state: fresh from `params`, or as the checkpoint has it."""
    name = self.config.stages[index]
    stage = KINDS[self.config[name].kind](name, self.world, draws=self.record['draws'])
    state = stage.init(params, jax.random.fold_in(self.key, index))
    resumed = self.record['stage'] == index and self.record['state'] is not None
    if resumed:
      stage.load_state_dict(self.record['state'])
      state, _ = self.checkpointer.restore(state)
    frozen = {}
    if stage.needs_reference:
      if resumed:
        frozen['reference'] = self.checkpointer.restore_role('reference', index, params['policy'])
      else:
        frozen['reference'] = jax.tree.map(lambda x: x.copy(), params['policy'])
        self.checkpointer.save_role('reference', index, frozen['reference'])
    if not resumed:
      self.record |= {'stage': index, 'done': 0, 'reference': index if frozen else None}
      if index == len(self.config.stages) - 1:
        self.record['start'] = self.evaluate(state.params['policy'], stage, 0)
      self.save(stage, state)
    return stage, state, frozen

  def run_stage(self, stage: Stage, state: TrainState, frozen: Mapping[str, PyTree]) -> TrainState:
    """The loop: collect samples, update, write metrics one iteration late, save."""
    history = []
    while self.record['done'] < stage.iterations:
      started = time.perf_counter()
      done = self.record['done'] + 1
      collected = stage.collect(state)
      state, seen = stage.update(state, frozen, collected.batch, stage.hyper(done - 1))
      self.record['done'], self.record['draws'] = done, stage.draws
      self.record['tokens'] += collected.metrics.get('rollout/tokens', 0)
      self.delayed.write(
        done,
        {
          **collected.metrics,
          **stage.rename(seen),
          'time/iteration': time.perf_counter() - started,
          'memory/peak_mib': self.memory.peak_mib,
        },
        stage=stage.name,
        step=done * stage.steps_per_iteration,
      )
      self.writers.samples(done, collected.rows, stage=stage.name)
      self.check_health(stage, history, collected.metrics)
      self.evaluate_sometimes(stage, state)
      stop = self.is_good_enough(stage, state)
      if stop or done == stage.iterations or done % self.config.checkpoint_every == 0:
        self.save(stage, state)
      if stop:
        break
    return state

  def check_health(self, stage: Stage, history: list, seen: Mapping[str, Any]) -> None:
    """Stops a run whose first iterations show that nothing can be learnt."""
    history.append(seen)
    wanted = self.config.health_check and stage.node.kind == 'rl'
    if wanted and len(history) == self.config.health_iterations and (why := is_hopeless(history)):
      raise HealthError(f'{why} (config.health_check=False goes on all the same)')

  def evaluate(self, params: PyTree, stage: Stage, done: int) -> dict[str, float]:
    """Held-out metrics of a policy, written under iteration `done` of the stage."""
    node = self.config.evaluation
    started = time.perf_counter()
    found = evaluate(
      params,
      self.world.held_out(0, node.num_prompts),
      self.world.evaluator(),
      self.world.score,
      samples=node.samples,
      ks=node.ks,
      well_formed=self.world.task.well_formed,
    )
    scalars = {f'eval/{self.world.task.name}/{k}': v for k, v in found.metrics.items()}
    scalars['time/evaluation'] = time.perf_counter() - started
    self.delayed.write(done, scalars, stage=stage.name)
    return scalars

  def evaluate_sometimes(self, stage: Stage, state: TrainState) -> None:
    """The evaluations in the middle of an RL stage, `evaluation.every` iterations apart."""
    every, done = self.config.evaluation.every, self.record['done']
    if every and stage.node.kind == 'rl' and done % every == 0 and done < stage.iterations:
      self.evaluate(state.params['policy'], stage, done)

  def is_good_enough(self, stage: Stage, state: TrainState) -> bool:
    """True once SFT has reached `stop_accuracy` (pass@1 at temperature 1 on held-out prompts)."""
    node = stage.node
    goal = node.get('stop_accuracy', 0)
    if not goal or self.record['done'] % node.stop_every:
      return False
    prompts = self.world.held_out(self.config.evaluation.num_prompts, DEV_PROMPTS)
    seen = evaluate(
      state.params['policy'], prompts, self.world.evaluator(), self.world.score, samples=3
    )
    return seen.metrics['avg@3'] >= goal

  def save(self, stage: Stage, state: TrainState) -> None:
    """A checkpoint of everything that remembers."""
    self.delayed.flush()
    self.record['saves'] += 1
    self.record |= {**self.cost(), 'state': stage.state_dict()}
    version = self.record['reference']
    roles = {} if version is None else {'reference': version}
    self.checkpointer.save(self.record['saves'], state, self.record, roles=roles)

  def cost(self) -> dict[str, float]:
    """Seconds and memory of the run, all its starts together."""
    before = self.earlier
    return {
      'seconds': before['seconds'] + time.perf_counter() - self.began,
      'compile_seconds': before['compile_seconds'] + self.compiled.seconds,
      'peak_mib': max(before['peak_mib'], self.memory.peak_mib),
    }

  def finish(self, stage: Stage, state: TrainState) -> dict[str, Any]:
    """Evaluates, draws the curves, writes and prints the summary."""
    end = self.evaluate(state.params['policy'], stage, self.record['done'])
    self.delayed.flush()
    self.checkpointer.wait()
    metrics.plot_curves(self.path)
    summary = metrics.write_summary(
      self.path,
      start=self.record['start'],
      end=end,
      **self.cost(),
      tokens=self.record['tokens'],
      config=self.config.to_dict(),
      versions=versions(),
      seed=self.config.seed,
    )
    metrics.print_summary(summary, next_commands=_next_commands(self.path))
    return summary


def _next_commands(path: Any) -> list[str]:
  return [f'look at {path}/curves.png and {path}/samples.jsonl']
