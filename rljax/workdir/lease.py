"""What stands for a lock on an object store: an object that its holder writes anew all the time."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

from rljax import files

BEAT = 20.0  # seconds between two signs of life
SILENCE = 60.0  # seconds without one after which a holder counts as dead
SETTLE = 2.0  # seconds in which another start that saw the same may still write


class WorkdirError(ValueError):
  """A work directory that must not be used for this run; one line that says what to do."""


class Lease:
  """Keeps two machines from running in one directory of an object store.

  The object says who holds it and grows older only if the holder is dead: a start that finds one of
  another machine watches it for `SILENCE` seconds. No clocks are compared. Of two starts that take
  over at the same moment, the one whose sign of life is overwritten gives way.

  Args:
    path: of the object. Runs of the same machine must be kept apart before.

  Raises:
    WorkdirError: another machine is at work there; it is named.
  """

  def __init__(self, path: Any):
    self._path, self._beats = path, 0
    self._mine = f'{socket.gethostname()} process {os.getpid()} {os.urandom(4).hex()}'
    there = self._read()
    if there and there.split()[0] != socket.gethostname():
      self._watch(there)
    self._beat()
    if there:
      time.sleep(SETTLE)
      if self._holder(now := self._read()) != self._mine:
        raise self._refusal(now)
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._keep, name='lease', daemon=True)
    self._thread.start()

  def release(self) -> None:
    """Lets another machine have the directory."""
    self._done.set()
    self._thread.join()
    if self._holder(self._read()) == self._mine:
      files.remove(self._path)

  def _read(self) -> str:
    try:
      return files.read_text(self._path)
    except FileNotFoundError:
      return ''

  @staticmethod
  def _holder(text: str) -> str:
    return text.rpartition(' ')[0]

  def _beat(self) -> None:
    self._beats += 1
    files.write_text(self._path, f'{self._mine} {self._beats}')

  def _keep(self) -> None:
    while not self._done.wait(BEAT):
      try:
        self._beat()
      except Exception as error:  # of the network, in any library; the next one may come through
        print(f'{self._path}: no sign of life could be written ({error})', flush=True)

  def _watch(self, there: str) -> None:
    """Returns if the holder gives no sign of life."""
    print(
      f'{self._path.parent} was used by {self._name(there)}; looking for {SILENCE:.0f} s whether '
      'that goes on',
      flush=True,
    )
    end = time.monotonic() + SILENCE
    while time.monotonic() < end:
      time.sleep(min(BEAT, SILENCE) / 4)
      now = self._read()
      if now and now != there:
        raise self._refusal(now)
      if not now:
        return

  def _name(self, text: str) -> str:
    return ' '.join(text.split()[:3])

  def _refusal(self, text: str) -> WorkdirError:
    return WorkdirError(
      f'{self._path.parent} is in use by {self._name(text)}; wait for it, end it, or choose '
      'another --workdir'
    )
