"""The process that calls a reward. It is started as a script and imports only what the reward does.

It reads frames (8 bytes of length, then a pickle) from standard input and writes one line of JSON
for each call (a sample, or the samples of a group), at once, so that its parent always knows which
call it is at. The kernel's timers end it when a call takes too long: no Python code has to run for
that, and it ends too when its parent is gone.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys


def main() -> None:
  """Serves chunks until standard input ends."""
  frames, lines = os.fdopen(os.dup(0), 'rb'), os.dup(1)
  # What the reward prints must not run into the lines, and what it reads is empty.
  os.dup2(2, 1)
  empty = os.open(os.devnull, os.O_RDONLY)
  os.dup2(empty, 0)
  for number in (signal.SIGPROF, signal.SIGALRM):
    signal.signal(number, signal.SIG_DFL)
  signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGPROF, signal.SIGALRM))
  setup = _receive(frames)
  sys.path[:] = setup['path']
  try:
    function, calls = _start(setup)
    names = calls.fields(function)
  except BaseException as error:
    _fail(lines, 'cannot import the reward', error)
  limits = setup['cpu_seconds'], setup['wall_seconds']
  calls.on_progress(lambda: (_arm(*limits), _send(lines, {'begun': True})))
  _send(lines, {'ready': True})
  while (chunk := _receive_chunk(frames, lines)) is not None:
    _send(lines, {'begun': True})
    for seed, values in chunk:
      _arm(*limits)
      outcomes = calls.call(function, names, values, seed)
      _arm(0, 0)
      _send(lines, outcomes)
      if any(outcome.spent for outcome in outcomes):
        os._exit(0)


def _start(setup):
  _limit_memory(setup['memory_mib'])
  from rljax.rewards import calls, nesting

  how, what, hyper = setup['reward']
  hyper = pickle.loads(hyper)
  if how == 'name':
    return nesting.from_name(what, hyper), calls
  function = pickle.loads(what) if how == 'pickle' else nesting.from_module(*what)
  return nesting.with_hyper(function, hyper), calls


def _limit_memory(mib: int) -> None:
  """Bounds writable memory; address space would count what libraries only reserve."""
  import resource

  limit = mib * 2**20
  hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
  if hard != resource.RLIM_INFINITY:
    limit = min(limit, hard)
  resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _arm(cpu_seconds: float, wall_seconds: float) -> None:
  """Starts (or with 0 stops) the timers whose signals end this process."""
  signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
  signal.setitimer(signal.ITIMER_REAL, wall_seconds)


def _receive(frames):
  head = frames.read(8)
  if len(head) < 8:
    return None
  return pickle.loads(frames.read(int.from_bytes(head, 'little')))


def _receive_chunk(frames, lines):
  try:
    return _receive(frames)
  except Exception as error:
    _fail(lines, 'cannot read the answers or the metadata of prompts', error)


def _fail(lines: int, what: str, error: BaseException) -> None:
  _send(lines, {'failed': f'{what}: {type(error).__name__}: {error}'[:500]})
  os._exit(1)


def _send(lines: int, message) -> None:
  data = json.dumps(message).encode() + b'\n'
  try:
    while data:
      data = data[os.write(lines, data) :]
  except BrokenPipeError:  # the parent is gone
    os._exit(1)


if __name__ == '__main__':
  main()
