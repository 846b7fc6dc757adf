"""What the runs name: rewards that wait, hang, leak and die, and the writer that looks.

Reward workers import this module, so it loads nothing heavy.
"""

import csv
import math
import os
import pathlib
import threading
import time

FIELDS = (
  'row', 'seconds', 'rss_mib', 'children_mib', 'live_arrays', 'live_mib', 'files', 'children',
  'threads', 'programs',
)  # fmt: skip
MIB = 1024 * 1024


def judged(completion: str, answer: str, *, seconds: float = 0.0) -> float:
  """Fraction of the places where the completion is right, after the wait of a judge's answer."""
  time.sleep(seconds)
  return sum(a == b for a, b in zip(completion, answer)) / max(len(completion), len(answer), 1)


def hanging(completion: str, answer: str) -> float:
  """`judged`, that never answers for some completions."""
  if completion.startswith('a'):
    time.sleep(1000)
  return judged(completion, answer)


def leaking(completion: str, answer: str) -> float:
  """`judged`, that takes all memory for some completions."""
  if completion.startswith('a'):
    taken = []
    while True:
      taken.append(bytearray(MIB))
  return judged(completion, answer)


def dying(completion: str, answer: str) -> float:
  """`judged`, whose process is killed at some completions."""
  if completion.startswith('a'):
    os.kill(os.getpid(), 9)
  return judged(completion, answer)


def raising(completion: str, answer: str) -> float:
  """`judged`, that raises at some completions."""
  if completion.startswith('a'):
    raise ValueError('no reward')
  return judged(completion, answer)


def unknown(completion: str, answer: str) -> float:
  """`judged`, NaN for some completions."""
  return math.nan if completion.startswith('a') else judged(completion, answer)


def unbounded(completion: str, answer: str) -> float:
  """`judged`, infinite for some completions."""
  return math.inf if completion.startswith('a') else judged(completion, answer)


class Watcher:
  """A writer of clu's interface: one line of `watched.csv` for each line of the metrics."""

  def __init__(self, workdir):
    from rljax.metrics import CompileWatch

    self._path = pathlib.Path(workdir) / 'watched.csv'
    self._compiled = CompileWatch().start()
    self._began = time.monotonic()
    self._last: list = []
    with open(self._path, 'w', newline='') as file:
      csv.writer(file).writerow(FIELDS)

  def write_scalars(self, row, scalars):
    del scalars
    import jax

    arrays = jax.live_arrays()
    mine = os.getpid()
    children = _children(mine)
    self._last = [
      row,
      round(time.monotonic() - self._began, 3),
      round(_resident(mine) / MIB, 3),
      round(sum(_resident(child) for child in children) / MIB, 3),
      len(arrays),
      round(sum(x.nbytes for x in arrays) / MIB, 6),
      len(os.listdir('/proc/self/fd')),
      len(children),
      threading.active_count(),
      sum(self._compiled.counts.values()),
    ]
    with open(self._path, 'a', newline='') as file:
      csv.writer(file).writerow(self._last)

  def flush(self):
    pass

  def close(self):
    self._compiled.stop()


def _resident(process: int) -> int:
  """Bytes of a process in memory; 0 if it has ended."""
  try:
    fields = pathlib.Path(f'/proc/{process}/statm').read_text().split()
  except OSError:
    return 0
  return int(fields[1]) * os.sysconf('SC_PAGE_SIZE')


def _children(process: int) -> list[int]:
  """The processes below one, whichever of its threads began them."""
  found = []
  for path in pathlib.Path(f'/proc/{process}/task').glob('*/children'):
    try:
      below = [int(child) for child in path.read_text().split()]
    except OSError:
      continue
    for child in below:
      found += [child, *_children(child)]
  return found
