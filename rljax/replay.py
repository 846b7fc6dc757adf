"""An iteration of a run once more, from its work directory: is it the same, bit by bit?

The run goes on from the newest checkpoint before the iteration, as a resumed run does, or from its
start where there is none; up to the iteration, of which metrics and samples are compared with what
the work directory says. Nothing is written there.

What may be expected. Bit-equal, on the same devices, with the same versions and the same config:
a run, the run started again, the run continued after any kill, an iteration replayed, and in each
of them every metric but time and memory, every sample, the parameters and the optimizer's state.
Tests hold it on CPUs. On GPUs it takes `config.deterministic`, without which sums by atomic
additions have no order; neither there nor on TPUs has it been run. Bit-equal on any devices: the
noise of a token, which depends on nothing but (seed, draw, sample, position); and tokens, however
many slots the sampler has.

Equal to rounding (1e-5 of a gradient's norm in float32, 1e-10 in float64): other meshes and numbers
of hosts, rows packed or padded, prompts shared or not, micro-batches, the sampler's log-probs and
the trainer's. Tokens that are drawn from logits of other rounding are the same but at near ties.

Not to be expected: rewards that a wall clock limits, where a limit decides (`reward/timeouts`
counts them), tools and judges that answer differently, and whatever else depends on the time of
day. A replay then says which metric differs first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from rljax import binding, files, hosts, interruptions, metrics
from rljax import config as configs
from rljax.assembly import World, assemble
from rljax.checkpoint import FOLDER, Checkpointer
from rljax.guard import batches
from rljax.health import HealthError
from rljax.metrics.sinks import sample_lines
from rljax.metrics.writers import Timeline
from rljax.progress import Progress
from rljax.stages import Stage
from rljax.structs import Batch, PyTree, TrainState
from rljax.train import Run
from rljax.workdir import read_config

ABSENT = '(absent)'


class Place(NamedTuple):
  """An iteration of a run: n = after n updates of the stage."""

  stage: str
  iteration: int


class Outcome(NamedTuple):
  """What a replay has found.

  Attributes:
    place: the iteration.
    metrics: name → (recorded, replayed), all but time and memory.
    samples: (recorded, replayed) rows of the samples table.
    same_batch: whether what was collected is the saved batch; None: there was none.
  """

  place: Place
  metrics: dict[str, tuple[Any, Any]]
  samples: tuple[list[dict[str, Any]], list[dict[str, Any]]]
  same_batch: bool | None

  @property
  def differing(self) -> list[str]:
    """The names of the metrics that are not bit-equal, and 'samples' if those are not."""
    names = [name for name, (one, other) in self.metrics.items() if not _same(one, other)]
    return names + ['samples'] * (self.samples[0] != self.samples[1])


class Reached(Exception):
  """The iteration is done."""


def replay(
  workdir: files.PathLike, iteration: int | None = None, *, stage: str = '', batch: str = ''
) -> Outcome:
  """Repeats an iteration from disk; writes nothing into the work directory.

  Args:
    workdir: of a run, finished or not.
    iteration: of the stage, from 1 on.
    stage: its name; '' = the last one that has this iteration.
    batch: folder of a saved batch within the work directory; it says the place, and is what the
      update gets.

  Raises:
    ValueError: there is no such run, iteration or batch, or its config means something else here.
  """
  path = files.as_path(workdir)
  if not files.exists(path / metrics.METRICS):
    raise ValueError(f'{path} is no work directory with {metrics.METRICS}')
  if hosts.count() > 1:
    raise ValueError('a replay is for one process; its devices must make the mesh of the run')
  config = configs.resolve(read_config(path)['config'])
  recorded = {Place(row['stage'], row['iteration']): row for row in metrics.read_metrics(path)}
  given = None
  if batch:
    given, record = batches.read_batch(path / batch)
    stage, iteration = record['stage'], record['iteration']
  place = _place(recorded, iteration, stage)
  step = _before(path, config.stages, place)
  with metrics.CompileWatch() as compiled, metrics.MemoryWatch() as memory:
    world = assemble(config)
    try:
      progress = Progress(path, keep=1, compiled=compiled, memory=memory, at=step)
      run = Replay(world, progress, place, given)
      run.go()
    finally:
      world.close()
  known = [row for row in files.read_jsonl(path / metrics.SAMPLES) if _is_at(row, place)]
  names = [n for n in {**recorded[place], **run.seen.scalars} if _is_compared(n)]
  pairs = {
    n: (recorded[place].get(n, ABSENT), run.seen.scalars.get(n, ABSENT)) for n in names
  }
  return Outcome(place, pairs, (known, run.seen.rows), run.same_batch)


def _is_at(row: Mapping[str, Any], place: Place) -> bool:
  return (row['stage'], row['iteration']) == place


def _is_compared(name: str) -> bool:
  return '/' in name and not name.startswith(('time/', 'memory/'))


def _place(
  recorded: Mapping[Place, Mapping[str, Any]], iteration: int | None, stage: str
) -> Place:
  """The iteration that is meant."""
  there = [p for p, row in recorded.items() if 'update/nonfinite' in row]
  found = [p for p in there if p.iteration == iteration and stage in ('', p.stage)]
  if found:
    return found[-1]
  if stage and stage not in {p.stage for p in there}:
    names = dict.fromkeys(p.stage for p in there)
    hint = binding.near(stage, names)
    raise ValueError(f'the run has no stage {stage!r}{hint}; it has {", ".join(names) or "none"}')
  ends = {p.stage: p.iteration for p in there if stage in ('', p.stage)}
  told = ', '.join(f'{name} 1 … {last}' for name, last in ends.items()) or 'none'
  raise ValueError(f'there is no iteration {iteration} of {stage or "a stage"}; there are {told}')


def _before(path: Any, stages: Sequence[str], place: Place) -> int:
  """The newest checkpoint from which a run comes to a place; 0 = there is none."""
  with Checkpointer(path / FOLDER, read_only=True) as saved:
    hosted = {step: saved.host(step) for step in saved.steps()}
  stood = {step: (host['stage'], host['done']) for step, host in hosted.items()}
  wanted = (list(stages).index(place.stage), place.iteration)
  return max((step for step, where in stood.items() if where < wanted), default=0)


class Replay(Run):
  """A run up to an iteration that leaves nothing behind; what it measured there is in `seen`."""

  def __init__(self, world: World, progress: Progress, place: Place, batch: Batch | None):
    self.place, self.batch, self.same_batch = place, batch, None
    self.seen = Seen(place)
    super().__init__(world, None, progress, interruptions.Interruption(), {})

  def open_writers(self, **told: Any) -> metrics.MultiWriter:
    return metrics.MultiWriter([self.seen], Timeline(told['stages']))

  def go(self) -> dict[str, Any]:
    try:
      return super().go()
    except (Reached, HealthError):  # the run itself may have ended here
      return {}

  def run_stage(
    self, stage: Stage, state: TrainState, frozen: dict, others: Mapping, *, is_last: bool
  ) -> TrainState:
    collect = stage.collect

    def collect_until(state, iteration):
      if (stage.name, iteration) == self.place:
        self.delayed.flush()
        raise Reached
      found = collect(state, iteration)
      return self.exchanged(stage, found) if self._is_next(stage, iteration) else found

    stage.collect = collect_until
    state = super().run_stage(stage, state, frozen, others, is_last=is_last)
    if stage.name == self.place.stage:
      self.delayed.flush()
      raise Reached
    return state

  def _is_next(self, stage: Stage, iteration: int) -> bool:
    return self.batch is not None and (stage.name, iteration + 1) == self.place

  def exchanged(self, stage: Stage, found: Any) -> Any:
    """What was collected, with the saved batch in the place of its own."""
    own, given = (jax.tree.leaves(x) for x in (batches.on_host(found.batch, None), self.batch))
    self.same_batch = len(own) == len(given) and all(
      a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
      for a, b in zip(own, given)
    )
    return found._replace(batch=stage.place(self.batch))

  def save(self, stage: Stage, state: TrainState) -> None:
    self.delayed.flush()

  def evaluate(
    self, stage: Stage, params: dict[str, PyTree], frozen: dict[str, PyTree]
  ) -> dict[str, float]:
    """Only what belongs to the iteration: an evaluation changes nothing."""
    if (stage.name, self.progress.done) != self.place:
      return {}
    return super().evaluate(stage, params, frozen)

  def finish(self) -> dict[str, Any]:
    return {}


class Seen:
  """A writer that keeps the metrics and samples of one iteration."""

  def __init__(self, place: Place):
    self._place = place
    self.scalars: dict[str, Any] = {}
    self.rows: list[dict[str, Any]] = []

  def write(self, row: int, record: Mapping[str, Any], scalars: Mapping[str, float]) -> None:
    if _is_at(record, self._place):
      self.scalars |= scalars

  def samples(self, row: int, record: Mapping[str, Any], rows: Sequence[Mapping]) -> None:
    if _is_at(record, self._place):
      self.rows += sample_lines(record, rows)

  def flush(self) -> None:
    pass

  def close(self) -> None:
    pass


def _same(one: Any, other: Any) -> bool:
  """Whether two numbers are the same bits as far as JSON keeps them; NaN is NaN."""
  return one == other or (one != one and other != other)


def table(outcome: Outcome) -> list[str]:
  """The lines to print: each metric as recorded and replayed, and what differs."""
  place, rows = outcome.place, outcome.metrics
  width = max(map(len, rows), default=0)
  lines = [f'{"":{width}}  {"recorded":>24}  {"replayed":>24}']
  for name, (one, other) in rows.items():
    mark = '' if _same(one, other) else '  differs'
    lines.append(f'{name:{width}}  {one!s:>24}  {other!s:>24}{mark}')
  known, drawn = outcome.samples
  if known or drawn:
    equal = sum(a == b for a, b in zip(known, drawn))
    mark = '' if known == drawn else '  differs'
    counts = f'{len(known)} rows', f'{len(drawn)} rows, {equal} equal'
    lines.append(f'{"samples":{width}}  {counts[0]:>24}  {counts[1]:>24}{mark}')
  if outcome.same_batch is not None:
    word = 'is' if outcome.same_batch else 'is not'
    lines.append(f'what was collected {word} the saved batch, with which the update was repeated')
  bad = outcome.differing
  count = len(rows) + bool(known or drawn)
  told = (
    f'differs from the run in {len(bad)} of {count}, first in {bad[0]}'
    if bad else f'is the run, bit by bit: {count} of {count}'
  )  # fmt: skip
  return [*lines, f'{place.stage}, iteration {place.iteration} {told}']
