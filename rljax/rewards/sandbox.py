"""Programs of a model, run where they can do little harm, and what became of them.

A program has a process of its own with limits, and where Linux allows it namespaces of its own: no
network, no other process to be seen, Python and the system's libraries as the only files, and an
empty /tmp in memory that vanishes. `probe()` says what of this holds on this machine.

It is no virtual machine: a fault of the kernel lets a program out, and nothing keeps it from using
the time and the caches that it shares with its neighbours, or from seeing which CPU it runs on.
Where programs are those of an adversary and not of a policy, run the trainer in a machine of its
own that holds nothing worth having.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import re
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from rljax.rewards import verdicts
from rljax.rewards.verdicts import Limits, Verdict

_RUNNER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'sandbox_runner.py')
_GRACE_SECONDS = 15.0  # the supervisor's own deadlines come first
_GREETING = 'import colorsys; print(round(126 * colorsys.ONE_THIRD))'  # reads a file of Python's


DEFAULT = Limits()


@dataclasses.dataclass(frozen=True)
class Containment:
  """What keeps a program in on this machine; `str` says it in words.

  Attributes:
    namespaces: it has a network, processes and files of its own.
    own_user: it runs as a user that owns nothing.
    counts_processes: the kernel counts its processes alone.
    why_not: what stood in the way of namespaces, '' if nothing.
  """

  namespaces: bool
  own_user: bool
  counts_processes: bool
  why_not: str = ''

  def __str__(self) -> str:
    held = ['CPU and wall-clock time', 'open files', 'output']
    missing = []
    (held if sys.platform == 'linux' else missing).append('memory of each process')
    if self.namespaces:
      held += ['network (none)', 'files (reads Python and system libraries, writes its own /tmp)']
      held += ['other processes (sees and signals none; all of its own end with it)']
    else:
      missing += ['files (reads and writes what its user may)']
      missing += ['network (refused by an audit hook, which a program can get around)']
      missing += ['processes that leave its session (found by /proc if at all)']
      if not self.own_user:
        missing += ['signals to other processes of its user']
    (held if self.counts_processes else missing).append('number of processes (counted by looking)')
    if self.counts_processes:
      held[-1] = 'number of processes'
    user = 'a user of its own' if self.own_user else 'the user of this process'
    reason = f' No namespaces here: {self.why_not}.' if self.why_not else ''
    return (
      f'A program runs as {user}. Contained: {"; ".join(held)}. '
      f'Not contained: {"; ".join([*missing, "bugs of the kernel"])}.{reason}'
    )


class NotAllowedError(PermissionError):
  """Code from a model was to be run and nobody has allowed it."""


def check_allowed(allow: bool) -> None:
  """Whether programs of a model may run, and can.

  Raises:
    NotAllowedError: `allow` is not True; says what is contained here and what is not.
    RuntimeError: the sandbox does not work here.
  """
  containment = probe()
  if allow is not True:
    raise NotAllowedError(
      f'this runs code that a model has written; it must be allowed by allow=True (got {allow!r}), '
      f'in a config by --config.task.allow=True. {containment}'
    )


@functools.cache
def probe() -> Containment:
  """Tries what this machine offers and returns the most that works.

  Raises:
    RuntimeError: not even a process with limits works.
  """
  is_linux, is_root = sys.platform == 'linux', os.geteuid() == 0
  space = [True, False] if is_linux else [False]
  users = [True, False] if is_linux and is_root else [False]
  failures = []
  for namespaces in space:
    for own_user in users:
      # Root is exempt from the count of processes; others are counted by namespace since 5.14.
      counts = own_user or (namespaces and not is_root and _kernel() >= (5, 14))
      found = Containment(namespaces, own_user, counts, failures[0] if not namespaces else '')
      try:
        answer = _serve(found, DEFAULT, {'source': _GREETING})[0]
        if answer['end'] == 'ended' and answer['stdout'] == '42\n':
          return found
        failures.append(answer.get('broken') or verdicts.of_run(answer, DEFAULT).message)
      except (RuntimeError, OSError) as error:
        failures.append(str(error))
  raise RuntimeError(f'the sandbox cannot run programs on this machine: {"; ".join(failures)}')


def run(source: str, *, stdin: str = '', limits: Limits = DEFAULT, allow: bool = False) -> Verdict:
  """Runs a program; it passes if it ends with exit code 0.

  Args:
    source: a Python program. It may import the standard library.
    stdin: its standard input.
    limits: what it may use.
    allow: True = the caller has decided that code from a model may run here.

  Raises:
    NotAllowedError: `allow` is not True.
  """
  return verdicts.of_run(_runs(limits, allow, source=source, inputs=[stdin])[0], limits)


def run_tests(
  source: str, tests: Sequence[str], *, limits: Limits = DEFAULT, allow: bool = False
) -> Verdict:
  """Runs a program and then its tests, in one process and one namespace.

  Each execution of an `assert` is a case; one that fails does not keep the others from being run.
  A program is not protected from itself: one that looks for the tests in its own process can fake
  their verdict.

  Args:
    source: a Python program; its `__name__` is 'program'.
    tests: pieces of source, run in this order.
    limits: of the program and all tests together.
    allow: see `run`.

  Raises:
    NotAllowedError: `allow` is not True.
    ValueError: a test is no Python; names it.
  """
  text, num_asserts = verdicts.count_asserts(tests)
  answer = _runs(limits, allow, source=source, tests=text)[0]
  return verdicts.of_tests(answer, num_asserts, limits)


def run_cases(
  source: str,
  cases: Sequence[tuple[str, str]],
  *,
  function: str = '',
  limits: Limits = DEFAULT,
  allow: bool = False,
) -> Verdict:
  """Runs a program once for each (input, expected output), each time in a new process.

  The expected outputs are compared here and never reach the program.

  Args:
    source: a Python program.
    cases: what it reads from standard input and what it must write to standard output. With
      `function`: its arguments, one JSON value a line, and the JSON value that it must return.
    function: name of the function to call (a method of `Solution`, where the program has that
      class); '' = a script.
    limits: of one run; `total_seconds` is of all.
    allow: see `run`.

  Raises:
    NotAllowedError: `allow` is not True.
    ValueError: no cases.
  """
  if not cases:
    raise ValueError('run_cases: no cases; a program needs at least one to pass')
  inputs = [text for text, _ in cases]
  answers = _runs(limits, allow, source=source, inputs=inputs, function=function)
  compare = verdicts.same_value if function else verdicts.same_output
  return verdicts.of_cases(answers, [expected for _, expected in cases], compare, limits)


def _runs(limits: Limits, allow: bool, **request: Any) -> list[dict[str, Any]]:
  check_allowed(allow)
  return _serve(probe(), limits, request)


def _serve(
  containment: Containment, limits: Limits, request: dict[str, Any]
) -> list[dict[str, Any]]:
  """What the supervisor answers for each input."""
  request = {
    'inputs': [''], 'tests': '', 'function': '', 'folder': '',
    **request,
    'namespaces': containment.namespaces,
    'own_user': containment.own_user,
    'counts_processes': containment.counts_processes,
    'cpu_seconds': limits.cpu_seconds,
    'wall_seconds': limits.wall_seconds,
    'total_seconds': limits.total_seconds,
    'memory_bytes': _memory(limits),
    'processes': limits.processes,
    'open_files': limits.open_files,
    'output_bytes': limits.output_mib * 2**20,
  }  # fmt: skip
  if not containment.namespaces:
    request['folder'] = tempfile.mkdtemp(prefix='rljax-sandbox-')
  try:
    answers = _converse(json.dumps(request).encode(), limits.total_seconds + _GRACE_SECONDS)
  finally:
    if request['folder']:
      shutil.rmtree(request['folder'], ignore_errors=True)
  broken = next((a['broken'] for a in answers if 'broken' in a), '')
  if broken or len(answers) < len(request['inputs']):
    raise RuntimeError(f'the sandbox could not run a program: {broken or "its supervisor ended"}')
  return answers


def _converse(request: bytes, seconds: float) -> list[dict[str, Any]]:
  """Starts a supervisor, hands it the request and reads until it ends."""
  # Sets of strings have one order, so that a program does the same each time.
  environment = {'PYTHONHASHSEED': '0', 'PYTHONUTF8': '1'}
  environment |= {k: os.environ[k] for k in ('LD_LIBRARY_PATH',) if k in os.environ}
  popen = subprocess.Popen(
    [sys.executable, '-S', '-B', _RUNNER],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    bufsize=0,
    start_new_session=True,
    env=environment,
  )
  data, deadline = bytearray(), time.monotonic() + seconds
  try:
    view = memoryview(len(request).to_bytes(8, 'little') + request)
    while view:
      view = view[popen.stdin.write(view) :]
    with selectors.DefaultSelector() as selector:
      selector.register(popen.stdout, selectors.EVENT_READ)
      # Its input stays open until it has answered: it takes the end of it for ours.
      while selector.select(max(0.0, deadline - time.monotonic())):
        piece = os.read(popen.stdout.fileno(), 1 << 20)
        if not piece:
          break
        data += piece
  except BrokenPipeError:  # it has ended; what it has answered tells how far it came
    pass
  finally:
    popen.stdin.close()
    try:
      popen.wait(2.0)
    except subprocess.TimeoutExpired:
      os.killpg(popen.pid, signal.SIGKILL)
      popen.wait()
    popen.stdout.close()
  return [json.loads(line) for line in bytes(data).splitlines()]


def _memory(limits: Limits) -> int:
  # A reward worker bounds its own writable memory, and that of its children with it.
  wanted = limits.memory_mib * 2**20
  for number in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
    hard = resource.getrlimit(number)[1]
    if hard != resource.RLIM_INFINITY and wanted > hard:
      raise ValueError(
        f'Limits: memory_mib={limits.memory_mib}, but this process may give no more than '
        f'{hard >> 20}; a reward worker has rewards.memory_mib'
      )
  return wanted


def _kernel() -> tuple[int, ...]:
  return tuple(int(n) for n in re.findall(r'\d+', platform.release())[:2])
