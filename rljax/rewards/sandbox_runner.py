"""The process that runs programs for `sandbox.py`: started as a script, standard library only.

It reads one request (8 bytes of length, then JSON) from standard input and answers one line of JSON
for each run. It ends when its input ends: its parent, who holds the other end, is gone then. What
lies between it and the program is in `sandbox_inside.py`.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import time

_TICK_SECONDS = 0.05  # between two looks at how many processes there are
_END_SECONDS = 10.0  # to end what ignores nothing but is slow to die
_FIRST_USER = 1_000_000_000  # of users that exist for one supervisor only
_LINUX = sys.platform == 'linux'
# Beside this script, which is not started as a part of rljax: that would import much.
_inside = importlib.import_module('sandbox_inside')


def main() -> None:
  """Serves one request."""
  answers = os.dup(1)
  request = json.loads(_read_exactly(int.from_bytes(_read_exactly(8), 'little')))
  os.dup2(os.open(os.devnull, os.O_RDWR), 1)
  _inside.prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what loses its parent becomes a child of this
  if request['own_user']:
    request['own_user'] = _FIRST_USER + os.getpid()
  end = time.monotonic() + request['total_seconds']
  for number, text in enumerate(request['inputs']):
    request['place'] = _place(request, number)
    seconds = min(request['wall_seconds'], end - time.monotonic())
    try:
      answer = Run(request, text, seconds).result() if seconds > 0 else {'end': 'not run'}
    except Exception as error:
      answer = {'broken': f'{type(error).__name__}: {error}'}
    os.write(answers, json.dumps(answer).encode() + b'\n')


def _place(request: dict, number: int) -> str:
  """An empty folder for one run."""
  folder, user = request['folder'], request['own_user']
  if not folder:  # the namespace has one
    return '/tmp'
  place = f'{folder}/{number}'
  os.mkdir(place)
  for path in (folder, place) if user else ():
    os.chown(path, user, user)
  return place


def _read_exactly(size: int) -> bytes:
  # Not through sys.stdin: programs inherit that object, and its buffer must be empty.
  pieces = []
  while size:
    piece = os.read(0, min(size, 1 << 20))
    if not piece:
      os._exit(1)
    pieces.append(piece)
    size -= len(piece)
  return b''.join(pieces)


class Run:
  """One run of the program, seen from the supervisor."""

  def __init__(self, request: dict, text: str, seconds: float) -> None:
    self._request, self._deadline = request, time.monotonic() + seconds
    self._started, self._end = time.monotonic(), ''
    self._nonce = os.urandom(16).hex()  # the program must not speak for its tests
    self._facts = {'passed': 0, 'failed': 0, 'messages': [], 'results': []}
    self._input = memoryview(text.encode())
    pipes = [os.pipe() for _ in range(4)]  # standard input, output, error; reports
    theirs = [pipes[0][0], *(w for _, w in pipes[1:])]
    self._feed = pipes[0][1]
    self._streams = {pipes[i][0]: bytearray() for i in (1, 2, 3)}
    self._stdout, self._stderr, self._report = self._streams
    self._gate = os.fork()
    if not self._gate:
      try:
        for fd in (self._feed, *self._streams):
          os.close(fd)
        _inside.gate(request, theirs, self._nonce)
      finally:
        os._exit(70)
    for fd in theirs:
      os.close(fd)
    for fd in (self._feed, *self._streams):
      os.set_blocking(fd, False)

  def result(self) -> dict:
    """What became of it, when nothing of it is left."""
    try:
      next_look = 0.0
      while not self._end:
        self._turn()
        if time.monotonic() >= next_look:
          self._look()
          next_look = time.monotonic() + _TICK_SECONDS
    finally:
      is_gone = end_all(self._gate)
    for fd in list(self._streams):
      self._take(fd)
    self._close_feed()
    for fd in self._streams:
      os.close(fd)
    if not is_gone:
      self._facts['messages'].insert(0, 'processes of the program could not be ended')
      self._end = 'leftovers'
    seconds = time.monotonic() - self._started
    texts = {'stdout': self._stdout, 'stderr': self._stderr}
    decoded = {k: self._streams[fd].decode(errors='replace') for k, fd in texts.items()}
    return {'end': self._end, 'seconds': seconds, **self._facts, **decoded}

  def _turn(self) -> None:
    feeding = [self._feed] if self._feed >= 0 else []
    readable, writable, _ = select.select([0, *self._streams], feeding, [], _TICK_SECONDS)
    if 0 in readable and not os.read(0, 1):
      end_all(self._gate)
      if self._request['folder']:
        importlib.import_module('shutil').rmtree(self._request['folder'], ignore_errors=True)
      os._exit(1)
    if writable:
      self._write_input()
    for fd in readable:
      if fd:
        self._take(fd)

  def _look(self) -> None:
    if time.monotonic() > self._deadline:
      self._end = self._end or 'timeout'
    elif len(descendants(self._gate)) - 1 > self._request['processes']:
      self._end = self._end or 'processes'
    elif os.waitpid(self._gate, os.WNOHANG)[0]:
      self._take(self._report)
      self._end = self._end or 'lost'

  def _write_input(self) -> None:
    try:
      self._input = self._input[os.write(self._feed, self._input[: 1 << 16]) :]
    except BlockingIOError:
      return
    except BrokenPipeError:
      self._input = self._input[:0]
    if not self._input:
      self._close_feed()

  def _close_feed(self) -> None:
    if self._feed >= 0:
      os.close(self._feed)
      self._feed = -1

  def _take(self, fd: int) -> None:
    """Takes what stands in a pipe, as far as its limit."""
    stream, limit = self._streams[fd], self._request['output_bytes']
    try:
      while len(stream) <= limit and (piece := os.read(fd, 1 << 16)):
        stream += piece
    except BlockingIOError:
      pass
    if len(stream) > limit:
      del stream[limit:]
      self._end = 'output'
    elif fd == self._report:
      *lines, rest = bytes(stream).split(b'\n')
      stream[:] = rest
      for line in lines:
        self._file(line.decode(errors='replace'))

  def _file(self, line: str) -> None:
    nonce, _, text = line.partition(' ')
    if nonce != self._nonce:
      return
    fact = json.loads(text)
    if 'case' in fact:
      self._facts['passed' if fact['case'] else 'failed'] += 1
      if not fact['case'] and len(self._facts['messages']) < 4:
        self._facts['messages'].append(fact['message'])
    elif 'call' in fact:
      self._facts['results'].append(fact['call'])
    else:
      self._facts.update(fact)
      if 'status' in fact:
        self._end = self._end or 'ended'


# ------------------------------------------------------------------------------- processes


def descendants(root: int) -> list[int]:
  """The living processes below `root`, by /proc; none where there is no /proc."""
  below: dict[int, list[int]] = {}
  if not _LINUX:
    return []
  for name in os.listdir('/proc'):
    if name.isdigit():
      try:
        with open(f'/proc/{name}/stat', 'rb') as stream:
          state, parent = stream.read().rpartition(b')')[2].split()[:2]
      except OSError:
        continue
      if state != b'Z':
        below.setdefault(int(parent), []).append(int(name))
  found, queue = [], [root]
  while queue:
    children = below.get(queue.pop(), [])
    found += children
    queue += children
  return found


def end_all(gate: int) -> bool:
  """Kills `gate` and all below this process, and waits for them; False if some are left."""
  deadline = time.monotonic() + _END_SECONDS
  _kill(os.killpg, gate)
  while time.monotonic() < deadline:
    try:
      ended = os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
      return True
    if not ended:
      for pid in descendants(os.getpid()):
        _kill(os.kill, pid)
      time.sleep(0.001)
  return False


def _kill(how, pid: int) -> None:
  try:
    how(pid, signal.SIGKILL)
  except (ProcessLookupError, PermissionError):
    pass


if __name__ == '__main__':
  main()
