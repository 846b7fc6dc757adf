"""One worker process, seen from its parent: start, send, read, kill."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from typing import Any

_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'worker.py')
_TIMER_SIGNALS = (signal.SIGPROF, signal.SIGALRM)


class Process:
  """A process that runs `worker.py` in a session of its own.

  It is a fresh interpreter: nothing is forked from this one and `__main__` is not run again.

  Attributes:
    ready: whether it has imported the reward.
    begun: whether it has read its chunk.
    working: False once it has said that it must not be used again.
    chunk: places of the calls that it has not answered; it is at the first.
    since: when it last gave a sign, seconds of the monotonic clock.
  """

  def __init__(self, setup: bytes) -> None:
    environment = {
      **os.environ,
      'JAX_PLATFORMS': 'cpu',
      'PYTHONHASHSEED': '0',  # sets of strings in one order in all workers
      'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1'),
    }
    self._popen = subprocess.Popen(
      [sys.executable, _SCRIPT],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      bufsize=0,
      start_new_session=True,
      env=environment,
    )
    os.set_blocking(self._popen.stdout.fileno(), False)
    self._rest = b''
    self.ready = False
    self.begun = False
    self.chunk: list[int] = []
    self.working = True
    self.since = time.monotonic()
    self._write(setup)

  @property
  def pid(self) -> int:
    return self._popen.pid

  def fileno(self) -> int:
    return self._popen.stdout.fileno()

  def send(self, places: list[int], given: list[tuple[int, tuple]]) -> None:
    """Hands over the calls at `places`; the process must have none."""
    self.chunk, self.begun, self.since = places, False, time.monotonic()
    self._write(frame(given))

  def _write(self, data: bytes) -> None:
    # A process that has died is noticed at its standard output, where its last words are.
    view = memoryview(data)
    try:
      while view:
        view = view[self._popen.stdin.write(view) :]
    except BrokenPipeError:
      pass

  def read(self) -> tuple[list[Any], bool]:
    """The messages that are there, and whether its output is still open."""
    data, is_open = b'', True
    try:
      while is_open and len(data) < 1 << 20:
        piece = os.read(self.fileno(), 1 << 16)
        is_open = bool(piece)
        data += piece
    except BlockingIOError:
      pass
    if data:
      self.since = time.monotonic()
    *lines, self._rest = (self._rest + data).split(b'\n')
    return [json.loads(line) for line in lines], is_open

  def has_ended(self) -> bool:
    """Whether it is dead, without reaping it: its process group can still be killed."""
    try:
      return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
      return True

  def kill(self) -> tuple[list[Any], int]:
    """Ends the process and its children, whatever they do: (last messages, exit code)."""
    try:
      os.killpg(self.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
      # macOS answers PermissionError when only the dead leader is left.
      pass
    code = self._popen.wait()
    messages, _ = self.read()
    self._popen.stdin.close()
    self._popen.stdout.close()
    return messages, code

  def wait(self, seconds: float) -> None:
    """Waits until it is dead, for `seconds` at most."""
    deadline = time.monotonic() + seconds
    while not self.has_ended() and time.monotonic() < deadline:
      time.sleep(0.001)


def explain(code: int) -> tuple[str, bool]:
  """What an exit code says: (message, ended by a timer)."""
  if -code in _TIMER_SIGNALS:
    return 'over the time limit', True
  if code >= 0:
    return f'the reward ended its process with exit code {code}', False
  hint = ' (out of memory?)' if code == -signal.SIGKILL else ''
  return f'the process of the reward was ended by {signal.Signals(-code).name}{hint}', False


def frame(message: Any) -> bytes:
  """A message as the worker reads it.

  By value where a class lives in `__main__`, which is another module in the worker.
  """
  import cloudpickle

  data = cloudpickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
  return len(data).to_bytes(8, 'little') + data
