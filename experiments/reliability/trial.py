"""One start of the run in a process of its own, that says at each moment what it is doing.

The process is a fork of this one, made after the imports and before jax starts a backend: a start
costs seconds less, and is otherwise that of `rljax train`.
"""

import contextlib
import functools
import mmap
import os
import pathlib
import signal
import socket
import struct
import sys
import time
import traceback
from typing import NamedTuple

import jax
import numpy as np

from rljax import checkpoint, cli, files, hosts, metrics, train
from rljax.files import lines
from rljax.metrics import writers
from rljax.rewards.shared import SharedScorer
from rljax.stages import reinforcement, stage, supervised

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = HERE / 'small.py'
PHASES = (
  'start', 'rollout', 'scoring', 'update', 'log write', 'checkpoint write', 'evaluation', 'between',
)  # fmt: skip
EVERY = 3  # `checkpoint_every` of the config
FIRST_OF_RL = 6  # row of the metrics that is an evaluation and no iteration
NOTHING = -1  # the row that a run continues from when it has no checkpoint
PATIENCE = 120.0  # seconds in which a process ends when the other one is gone


class Subject(NamedTuple):
  """A run that is killed: a config with SFT for 5 iterations, then 10; and of how many processes.
  """

  name: str
  config: pathlib.Path = CONFIG
  processes: int = 1
  flags: tuple[str, ...] = ()


SMALL = Subject('small')
TURNS = Subject('turns', HERE / 'turns.py')
POOL = Subject('pool', HERE / 'pool.py')
TWO = Subject('two', processes=2, flags=('--config.hosts.silence=20',))


def _number(place):
  """An int32 that both see."""

  def get(self):
    return struct.unpack_from('i', self.memory, 4 * place)[0]

  def put(self, value):
    struct.pack_into('i', self.memory, 4 * place, value)

  return property(get, put)


class Board:
  """What parent and child both see: the phase, how often each was entered, rows of metrics."""

  phase, row, resumed, torn = _number(0), _number(1), _number(2), _number(3)

  def __init__(self):
    self.memory = mmap.mmap(-1, 256)
    self.phase, self.row, self.resumed = 0, NOTHING, -2
    self.torn = 0

  def entries(self, phase):
    return struct.unpack_from('i', self.memory, 4 * (8 + phase))[0]

  def enter(self, phase):
    """The phase before."""
    before, self.phase = self.phase, phase
    struct.pack_into('i', self.memory, 4 * (8 + phase), self.entries(phase) + 1)
    return before

  def within(self, name, function):
    """`function`, with the board showing the phase meanwhile."""
    phase = PHASES.index(name)

    @functools.wraps(function)
    def shown(*args, **kwargs):
      before = self.enter(phase)
      try:
        return function(*args, **kwargs)
      finally:
        self.phase = before

    return shown


def instrument(board):
  """Puts the board into the places where the phases begin."""
  for kind in (reinforcement.Reinforcement, supervised.Supervised):
    kind.collect = board.within('rollout', kind.collect)
  SharedScorer.score = board.within('scoring', SharedScorer.score)
  train.Run.evaluate = board.within('evaluation', train.Run.evaluate)
  checkpoint.Checkpointer.save = board.within('checkpoint write', checkpoint.Checkpointer.save)
  hyper, rename = stage.Stage.hyper, stage.Stage.rename

  def asked(self, done):
    board.enter(PHASES.index('update'))
    return hyper(self, done)

  def renamed(self, seen):
    board.phase = PHASES.index('between')
    return rename(self, seen)

  stage.Stage.hyper, stage.Stage.rename = asked, renamed
  append = lines.LineFile.append

  def appended(self, text):
    if board.torn and board.entries(PHASES.index('log write')) >= board.torn:
      append(self, text[: len(text) // 2])  # half of it is on disk, and now the kill comes
      time.sleep(60)
    append(self, text)

  lines.LineFile.append = board.within('log write', appended)
  write, cut = writers.Delayed.write, writers.cut

  def written(self, iteration, *args, stage, **kwargs):
    guard = self._writer  # which stands before the writers
    board.row = guard._writer.timeline.row(stage, iteration)
    return write(self, iteration, *args, stage=stage, **kwargs)

  def cutting(workdir, timeline, after):
    board.resumed = board.row = NOTHING if after is None else timeline.row(*after)
    return cut(workdir, timeline, after)

  writers.Delayed.write, writers.cut = written, cutting


def begin(workdir, board, *, config=CONFIG, prepare=None, flags=()):
  """The process id of `rljax train` on `workdir`; what it prints stands beside the directory."""

  def prepared():
    instrument(board)
    if prepare:
      prepare()

  argv = ['train', f'--config={config}', f'--workdir={workdir}', *flags]
  return fork(argv, f'{workdir}.log', prepared)


def fork(argv, output, prepare=None):
  """The process id of `rljax` with some arguments; what it prints is put behind a file."""
  log = open(output, 'ab')
  if child := os.fork():
    log.close()
    return child
  os.setsid()
  for descriptor in (1, 2):
    os.dup2(log.fileno(), descriptor)
  status = 1
  try:
    if prepare:
      prepare()
    status = cli.main(argv)
    if hosts.count() > 1:
      jax.distributed.shutdown()  # as an interpreter does that ends
  except BaseException:
    traceback.print_exc()
  finally:
    with contextlib.suppress(Exception):
      sys.stdout.flush()
      sys.stderr.flush()
    os._exit(status)


def start(subject, workdir, board):
  """The process ids of a run; the board is that of the first, which writes."""
  own = dict(config=subject.config)
  if subject.processes == 1:
    return [begin(workdir, board, flags=subject.flags, **own)]
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    place = f'127.0.0.1:{found.getsockname()[1]}'
  flags = (*subject.flags, f'--coordinator={place}', f'--num_processes={subject.processes}')
  boards = [board, *(Board() for _ in range(1, subject.processes))]
  return [
    begin(workdir, shown, flags=(*flags, f'--process_id={number}'), **own)
    for number, shown in enumerate(boards)
  ]


def wait(child):
  """The exit code, −9 if it was killed."""
  return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wait_for_all(children):
  """The exit codes; what still runs `PATIENCE` after another was killed is ended: None."""
  until, codes = None, {}
  while len(codes) < len(children):
    for child in children:
      if child not in codes and is_over(child):
        codes[child] = wait(child)
        if codes[child] == -signal.SIGKILL:
          until = until or time.monotonic() + PATIENCE
    if until and time.monotonic() > until:
      for child in {*children} - {*codes}:
        os.killpg(child, signal.SIGKILL)
        wait(child)
        codes[child] = None
    time.sleep(0.01)
  return [codes[child] for child in children]


def is_over(child):
  """Whether a process has ended; it is still to be waited for."""
  return bool(os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT))


def run(workdir, **how):
  """(exit code, seconds until the first rollout or the end, board)."""
  board, began = Board(), time.monotonic()
  child = begin(workdir, board, **how)
  seconds = first_rollout(child, board, began)
  return wait(child), seconds, board


def first_rollout(child, board, began):
  """Seconds from `began` to the first rollout of the process, or to its end."""
  while not board.entries(PHASES.index('rollout')):
    if is_over(child):
      break
    time.sleep(0.002)
  return time.monotonic() - began


def compare(whole, other, *, ended=True):
  """What differs from the run that was never stopped; [] if nothing does.

  Args:
    whole, other: work directories.
    ended: whether the second run is at its end; else its lines must be the first ones.
  """
  wrong = []
  expected, found = (_metrics(folder) for folder in (whole, other))
  places = [(row['stage'], row['iteration']) for row in found]
  if len(set(places)) < len(places):
    wrong.append('an iteration stands twice in the metrics')
  if found != (expected if ended else expected[: len(found)]):
    wrong.append('metrics differ')
  expected, found = (_rows(folder, 'samples.jsonl') for folder in (whole, other))
  if found != (expected if ended else expected[: len(found)]):
    wrong.append('samples differ')
  if not ended:
    return wrong
  expected, found = (metrics.read_summary(folder) for folder in (whole, other))
  wrong += [f'summary: {name} differs' for name in ('start', 'end', 'tokens')
            if expected[name] != found[name]]  # fmt: skip
  expected, found = (_parameters(folder) for folder in (whole, other))
  if expected.keys() != found.keys() or any((expected[k] != found[k]).any() for k in expected):
    wrong.append('parameters differ')
  return wrong


def _rows(folder, name):
  path = pathlib.Path(folder) / name
  return files.read_jsonl(path) if path.exists() else []


def _metrics(folder):
  """Lines of metrics without what depends on the clock; a NaN is text there."""
  return [
    {k: v for k, v in row.items() if not k.startswith(('time/', 'memory/'))}
    for row in _rows(folder, 'metrics.jsonl')
  ]


def _parameters(folder):
  """In a process of its own: reading starts a backend, and later forks must have none."""
  path = pathlib.Path(f'{folder}.npz')
  if not (child := os.fork()):
    with contextlib.suppress(BaseException):
      flat = checkpoint.store.flatten(checkpoint.load_params(folder))
      np.savez(path, **{name.replace('/', '|'): np.asarray(x) for name, x in flat.items()})
      os._exit(0)
    os._exit(1)
  if wait(child):
    raise RuntimeError(f'{folder}: the parameters cannot be read')
  with np.load(path) as parts:
    return {name: parts[name] for name in parts.files}
