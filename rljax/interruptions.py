"""SIGTERM and SIGINT: a run ends its iteration, saves and leaves, all hosts after the same one.

A job that SLURM or Kubernetes takes back, a machine that shuts down, and Ctrl-C all say so by a
signal. A VM of Google Cloud says it earlier, by its metadata server (`notices`); the process then
sends SIGTERM to itself. It may reach one host of many: the hosts agree after each iteration (jax's
own service for this, `reached_preemption_sync_point`, hears SIGTERM only and keeps processes alive
that were told to end, so `hosts` leaves it off). Of an iteration that takes longer than the notice
allows nothing is saved, and the run goes on from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from rljax import hosts, notices

STATUS = 75  # EX_TEMPFAIL of sysexits.h: the same command goes on later
AT_ONCE = 130  # what a shell says of a program that SIGINT has ended
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
  """The run was told to stop; the message says by what, and what is saved."""


class Interruption:
  """What a run has been told so far.

  Attributes:
    number: the first signal; 0 = none.
    waits: whether the run ends its iteration first; else a signal is an exception at once.
  """

  def __init__(self) -> None:
    self.number = 0
    self.waits = False
    self._told = False

  def is_due(self) -> bool:
    """Whether to leave after this iteration; the hosts, which ask together, get one answer."""
    found = hosts.exchange({'signal': self.number}, 'whether to go on')
    told = [int(part['signal']) for part in found if int(part['signal'])]
    self.number = self.number or (told[0] if told else 0)
    return bool(told)

  def leave(self, saved: str) -> NoReturn:
    """Raises Interrupted when all hosts are here; the checkpoint must be on disk.

    Args:
      saved: what the checkpoint holds, for the message.
    """
    hosts.meet('the interruption')
    raise Interrupted(f'{self.name}: {saved}')

  @property
  def name(self) -> str:
    return signal.Signals(self.number).name

  def _at_bytecode(self, number: int, frame: Any) -> None:
    """Called by Python in the main thread, as soon as that is not in a program of the device."""
    del frame
    self.number = self.number or number
    if not self.waits:
      raise Interrupted(f'{self.name}: nothing is saved since the last checkpoint')

  def _hear(self, number: int) -> None:
    """Called in a thread of its own, whatever the main thread is at."""
    if number == signal.SIGINT and self._told:
      # Nothing is flushed or closed: what is on disk is whole after any kill.
      _say(f'{signal.Signals(number).name} again: leaves at once')
      os._exit(AT_ONCE)
    if self.waits and not self._told:
      name = signal.Signals(number).name
      _say(f'{name}: ends the iteration, saves and leaves; Ctrl-C (again) leaves at once')
    self._told = True
    self.number = self.number or number


@contextlib.contextmanager
def heard() -> Iterator[Interruption]:
  """In this block the signals are heard; only the main thread of a process can listen."""
  interruption = Interruption()
  if threading.current_thread() is not threading.main_thread():
    yield interruption
    return
  reads, writes = os.pipe()
  os.set_blocking(writes, False)
  # The system's handler writes the number here at once; Python's own handlers wait for the main
  # thread, which may be in a compilation of minutes.
  before = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
  handlers = {number: signal.signal(number, interruption._at_bytecode) for number in _SIGNALS}
  thread = threading.Thread(target=_listen, args=(reads, interruption), daemon=True)
  thread.start()
  try:
    with notices.watched(_tell_itself):
      yield interruption
  finally:
    for number, handler in handlers.items():
      signal.signal(number, handler)
    signal.set_wakeup_fd(before)
    os.close(writes)
    thread.join()
    os.close(reads)


def _tell_itself() -> None:
  os.kill(os.getpid(), signal.SIGTERM)


def _listen(reads: int, interruption: Interruption) -> None:
  while numbers := os.read(reads, 16):
    for number in numbers:
      if number in _SIGNALS:
        interruption._hear(number)


def _say(text: str) -> None:
  # A print may be under way in the main thread, and would not be entered twice.
  os.write(2, f'\nrljax: {text}\n'.encode())
