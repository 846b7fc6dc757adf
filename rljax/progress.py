"""What a run remembers from one start to the next, and the checkpoints that hold it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax

from rljax import files, hosts
from rljax.assembly import World
from rljax.checkpoint import FOLDER, Checkpointer, DamagedError
from rljax.guard.batches import pinned
from rljax.stages import Stage, make_stage
from rljax.structs import PyTree, TrainState

REMEMBERED = (
  'stage', 'done', 'draws', 'tokens', 'stopped', 'start', 'end', 'trained', 'versions', 'watched'
)  # fmt: skip


def is_due(done: int, every: int) -> bool:
  """Whether something that comes every so many iterations comes after this one; 0 = never."""
  return every > 0 and done % every == 0


class Progress:
  """Where a run stands. Opened on a directory with checkpoints, it stands where the last one does.

  Args:
    path: the work directory.
    keep: checkpoints that are kept.
    compiled, memory: `CompileWatch` and `MemoryWatch` of the run.
    at: the checkpoint to stand at instead, 0 = at the start; then nothing is written.

  Attributes:
    stage: index of the stage in `config.stages`.
    done: iterations of that stage.
    draws: prompts drawn in the run.
    tokens: tokens sampled in the run.
    stopped: whether the stage has ended before its last iteration.
    start, end: evaluation of the policy with which the last stage begins, and ends.
    trained: roles that the run has trained, in this stage or before.
    versions: role → version of the parameters that the stage needs and does not train: the
      reference, and what earlier stages have trained.
    watched: what `guard.Guard` remembers.
    resumed: whether there was a checkpoint.
  """

  def __init__(
    self, path: Any, *, keep: int, compiled: Any, memory: Any, at: int | None = None
  ):
    self.checkpointer = Checkpointer(
      path / FOLDER, keep=keep, pinned=pinned(path), read_only=at is not None
    )
    self._step = self.checkpointer.latest() if at is None else at or None
    self.resumed = self._step is not None
    try:
      saved = self.checkpointer.host(self._step) if self.resumed else {}
    except DamagedError:
      self.checkpointer.close()
      raise
    self.stage: int = saved.get('stage', 0)
    self.done: int = saved.get('done', 0)
    self.draws: int = saved.get('draws', 0)
    self.tokens: int = saved.get('tokens', 0)
    self.stopped: bool = saved.get('stopped', False)
    self.start: dict[str, float] = saved.get('start', {})
    self.end: dict[str, float] = saved.get('end', {})
    self.trained: list[str] = saved.get('trained', [])
    self.versions: dict[str, int] = saved.get('versions', {})
    self.watched: dict[str, Any] = saved.get('watched', {})
    self._saves: int = saved.get('saves', 0)
    self._moved: PyTree | None = None  # a reference that no checkpoint knows yet
    self._stage_state = saved.get('stage_state')
    self._cost = saved.get('cost', {'seconds': 0.0, 'compile_seconds': 0.0, 'peak_mib': 0.0})
    self._began, self._compiled, self._memory = time.perf_counter(), compiled, memory

  def enter(
    self, index: int, world: World, params: dict[str, PyTree]
  ) -> tuple[Stage, TrainState, dict[str, PyTree]]:
    """A stage with its state and frozen roles: as the checkpoint has them, else from `params`.

    `params` get the roles that earlier stages have trained and this one does not.
    """
    stage = make_stage(world.config.stages[index], world, draws=self.draws)
    key = jax.random.fold_in(jax.random.key(world.config.seed), index)
    if self._stage_state is None:
      # A copy: the update donates the parameters.
      kept = {r: params[r] for r in self.trained if r not in stage.optimizers}
      kept |= {'reference': world.as_reference(params['policy'])} if stage.needs_reference else {}
      state = stage.init(params, key)
      self.stage, self.done, self.stopped = index, 0, False
      self.trained = sorted({*self.trained, *stage.optimizers})
      self.versions = {role: v for role, v in self.versions.items() if role in world.base}
      for role, tree in {**kept, **world.base}.items():
        if role not in self.versions:
          self._keep(role, tree)
    else:
      state = stage.init(params, key)
      stage.load_state_dict(self._stage_state)
      like, outlines = jax.tree.map(_outline, (state, {**params, **world.base}))
      outlines['reference'] = jax.tree.map(
        _outline, params['policy'], world.reference_shardings
      )
      for fresh in jax.tree.leaves((state.params, state.opt_state, world.base)):
        fresh.delete()  # to make room for the saved ones
      state, _ = self.checkpointer.restore(like, self._step)
      kept = {
        role: self.checkpointer.restore_role(role, version, outlines[role])
        for role, version in self.versions.items()
      }
      self._stage_state = None
      world.base.update({role: kept.pop(role) for role in world.base})
    frozen = {**world.frozen, **world.base}
    frozen |= {'reference': kept.pop('reference')} if stage.needs_reference else {}
    params |= kept
    if 'reward' in stage.objective.frozen_roles:
      frozen['reward'] = params['reward']
    return stage, state, frozen

  def count(self, draws: int, tokens: int) -> None:
    """One more iteration is done.

    A checkpoint that is still being written is whole before: a kill costs no more iterations than
    lie between two checkpoints.
    """
    self.checkpointer.wait()
    self.done, self.draws, self.tokens = self.done + 1, draws, self.tokens + tokens

  def keep_reference(self, frozen: dict[str, PyTree], reference: PyTree | None) -> None:
    """Puts another reference in the place of the old one; None: it stays."""
    if reference is not None:
      frozen['reference'] = self._moved = reference

  def _keep(self, role: str, tree: PyTree) -> None:
    """Saves parameters that the stage's checkpoints need and do not hold."""
    self._saves += 1
    self.versions[role] = self._saves
    if not self.checkpointer.read_only:
      self.checkpointer.save_role(role, self._saves, tree)

  def save(self, stage: Stage, state: TrainState) -> None:
    """A checkpoint of everything that remembers; metrics so far must be on disk before."""
    if self._moved is not None:
      self._keep('reference', self._moved)
      self._moved = None
    self._saves += 1
    hosts.meet('the checkpoint')
    record = {name: getattr(self, name) for name in REMEMBERED}
    record |= {'saves': self._saves, 'cost': self.cost(), 'stage_state': stage.state_dict()}
    self.checkpointer.save(self._saves, state, record, roles=self.versions)

  def cost(self) -> dict[str, float]:
    """Seconds, seconds of them in the compiler, and MiB at the peak: all starts together."""
    return {
      'seconds': self._cost['seconds'] + time.perf_counter() - self._began,
      'compile_seconds': self._cost['compile_seconds'] + self._compiled.seconds,
      'peak_mib': max(self._cost['peak_mib'], self._memory.peak_mib),
    }


@contextlib.contextmanager
def set_aside(path: Any) -> Iterator[None]:
  """Takes the newest checkpoint of a work directory out of the way if the block finds it damaged.

  Raises:
    DamagedError: there is none before it.
  """
  try:
    yield
  except DamagedError as damage:
    folder = path / FOLDER
    found = sorted(int(name) for name in files.names(folder / 'state') if name.isdigit())
    hosts.meet('the damaged checkpoint')  # all have looked
    if len(found) < 2:
      raise
    target = folder / 'damaged' / f'{found[-1]}-{time.time_ns()}'
    if hosts.is_first():
      files.make_folder(target.parent)
      files.move(folder / 'state' / str(found[-1]), target)
    hosts.meet('the checkpoint before it')
    print(
      f'WARNING: {damage}. The run goes on from the one before it; this one stands in {target}',
      flush=True,
    )


def _outline(x: jax.Array, sharding: Any = None) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding)
