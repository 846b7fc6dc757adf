"""A pool of worker processes that give every call an outcome, whatever the reward does."""

from __future__ import annotations

import collections
import math
import os
import selectors
import time
import weakref
from typing import Any

from rljax.rewards.calls import Outcome, failure
from rljax.rewards.delivery import by_value
from rljax.rewards.process import Process, explain, frame

Call = tuple[int, tuple[Any, ...]]  # its seed, values of the fields
Outcomes = list[Outcome]  # of the samples of a call, or a single one that holds for all of them

_MAX_CHUNK = 64  # calls a message: less than a millisecond of overhead, little to do again
_GRACE_SECONDS = 1.0  # the worker's own timers come first
_MAX_LOST = 5  # workers in succession that ended before they scored anything
_TICK_SECONDS = 0.1  # between two looks at which workers live and are in time


class Pool:
  """Processes that are replaced when they end; see `Scorer`.

  Args:
    num_workers: processes.
    how: the reward, as `delivery.resolve` gives it.
    path: `sys.path` of the workers.
    cpu_seconds, wall_seconds: of one call.
    memory_mib: of one worker, MiB.
    start_seconds: wall-clock time to import the reward.
  """

  def __init__(
    self,
    num_workers: int,
    *,
    how: tuple[str, Any, dict[str, Any]],
    path: list[str],
    cpu_seconds: float,
    wall_seconds: float,
    memory_mib: int,
    start_seconds: float,
  ) -> None:
    self._num_workers = num_workers
    self._wall_seconds = wall_seconds
    self._start_seconds = start_seconds
    self._lost_in_a_row = 0
    self._setup = frame(
      {
        'reward': (*how[:2], by_value(how[2])),  # read when the worker can import
        'path': path,
        'cpu_seconds': cpu_seconds,
        'wall_seconds': wall_seconds,
        'memory_mib': memory_mib,
      }
    )
    self._processes: list[Process] = []
    self._selector = selectors.DefaultSelector()
    self._close = weakref.finalize(self, _kill_all, self._processes, os.getpid())
    self._fill()

  def close(self) -> None:
    """Ends all workers and their children."""
    self._close()
    self._selector.close()

  def run(self, given: list[Call], seconds: float = math.inf) -> list[Outcomes]:
    """The outcomes of the calls, in their order.

    Args:
      given: the calls.
      seconds: of wall-clock time for all of them; those that are left then have timed out.

    Raises:
      RuntimeError: a worker cannot import the reward.
    """
    self._lost_in_a_row = 0
    try:
      return self._run(given, time.monotonic() + seconds)
    except BaseException:
      for process in list(self._processes):  # nobody waits for what they still do
        self._remove(process)
      raise

  def _run(self, given: list[Call], until: float) -> list[Outcomes]:
    outcomes: list[Outcomes | None] = [None] * len(given)
    size = max(1, min(_MAX_CHUNK, math.ceil(len(given) / (4 * self._num_workers))))
    places = range(len(given))
    queue = collections.deque(list(places[i : i + size]) for i in range(0, len(given), size))
    next_look = 0.0
    while queue or any(p.chunk for p in self._processes):
      if time.monotonic() > until:
        for process in [p for p in self._processes if p.chunk]:
          self._remove(process)
        late = [failure('over the time limit of all rewards', timed_out=True)]
        return [late if found is None else found for found in outcomes]
      self._fill()
      for process in self._processes:
        if queue and process.ready and not process.chunk:
          chunk = queue.popleft()
          process.send(chunk, [given[i] for i in chunk])
      ended, late = self._listen(outcomes), set()
      if time.monotonic() >= next_look:
        ended |= {p for p in self._processes if p.has_ended()}
        late = self._late() - ended
        next_look = time.monotonic() + _TICK_SECONDS
      for process in ended | late:
        rest = self._bury(process, outcomes, process in late)
        if rest:
          queue.appendleft(rest)
    return outcomes

  def _fill(self) -> None:
    while len(self._processes) < self._num_workers:
      process = Process(self._setup)
      self._processes.append(process)
      self._selector.register(process, selectors.EVENT_READ)

  def _remove(self, process: Process) -> tuple[list[Any], int]:
    self._processes.remove(process)
    self._selector.unregister(process)
    return process.kill()

  def _listen(self, outcomes: list[Outcomes | None]) -> set[Process]:
    """Takes what the workers say within a tick; returns those that will say no more."""
    ended = set()
    for key, _ in self._selector.select(_TICK_SECONDS):
      messages, is_open = key.fileobj.read()
      if not _take(key.fileobj, messages, outcomes) or not is_open:
        ended.add(key.fileobj)
    return ended

  def _late(self) -> set[Process]:
    """Workers that give no sign although their own timers should have ended them."""
    now, late = time.monotonic(), set()
    for process in self._processes:
      if not process.ready and now - process.since > self._start_seconds:
        raise RuntimeError(
          f'a reward worker did not start within start_seconds={self._start_seconds}'
        )
      if process.chunk and now - process.since > self._wall_seconds + _GRACE_SECONDS:
        late.add(process)
    return late

  def _bury(self, process: Process, outcomes: list[Outcomes | None], is_late: bool) -> list[int]:
    """Removes a worker. The call that it was at gets its outcome, the others are returned."""
    if not is_late:
      process.wait(1.0)  # its exit code tells what happened
    messages, code = self._remove(process)
    _take(process, messages, outcomes)
    message, timed_out = explain(code)
    if process.begun:
      self._lost_in_a_row = 0
      if process.working and process.chunk:
        if is_late:
          message, timed_out = 'over the time limit', True
        outcomes[process.chunk.pop(0)] = [failure(message, timed_out=timed_out)]
    else:  # nobody's fault: it was importing, or killed while it had nothing to do
      self._lost_in_a_row += 1
      if self._lost_in_a_row == _MAX_LOST:
        raise RuntimeError(f'reward workers end before they score anything: {message}')
    return process.chunk


def _take(process: Process, messages: list[Any], outcomes: list[Outcomes | None]) -> bool:
  """Files what a worker says; False once it has said that it must not be used again."""
  for message in messages:
    if isinstance(message, dict):
      if 'failed' in message:
        raise RuntimeError(f'a reward worker {message["failed"]}')
      process.ready, process.begun = True, 'begun' in message
      continue
    found = [Outcome(*one) for one in message]
    outcomes[process.chunk.pop(0)] = found
    if any(outcome.spent for outcome in found):
      process.working = False
  return process.working


def _kill_all(processes: list[Process], owner: int) -> None:
  if os.getpid() != owner:  # a fork of this process has no workers
    return
  while processes:
    processes.pop().kill()
