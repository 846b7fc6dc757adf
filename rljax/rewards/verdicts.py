"""What programs may use, and from what the sandbox reports to a verdict. Nothing is run here."""

from __future__ import annotations

import ast
import dataclasses
import decimal
import errno
import json
import math
import signal
from collections.abc import Callable, Sequence
from typing import Any

KINDS = ('passed', 'wrong', 'error', 'timeout', 'memory', 'output', 'refused')

_FULL = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)
_CASE = '__rljax_case__'  # as `sandbox_inside.py` names it


@dataclasses.dataclass(frozen=True)
class Limits:
  """What one run of a program may use.

  Attributes:
    cpu_seconds: CPU time of each of its processes, whole seconds.
    wall_seconds: wall-clock time of a run.
    total_seconds: wall-clock time of all runs of one program; a case that is not run counts as not
      passed.
    memory_mib: address space of each process, MiB. Not writable memory (RLIMIT_DATA), which leaves
      out shared mappings: a program could take all memory by them.
    processes: processes and threads at a time.
    open_files: files, pipes and sockets of one process.
    output_mib: MiB of standard output, of standard error, of a file, and of all files together.
  """

  cpu_seconds: int = 4
  wall_seconds: float = 10.0
  total_seconds: float = 20.0
  memory_mib: int = 512
  processes: int = 16
  open_files: int = 64
  output_mib: int = 8

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f'Limits: {field.name}={value!r}; it must be a number > 0')
      if field.type == 'int' and value != int(value):
        raise ValueError(f'Limits: {field.name}={value!r}; it must be a whole number')


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What became of a program.

  Attributes:
    kind: one of KINDS. 'passed': all cases; 'wrong': it ran to its end, but not all cases passed;
      'error': it raised or was ended by a signal; 'timeout', 'memory', 'output' (written): over
      that limit; 'refused': it wanted the network or too many processes. Of several cases, that of
      the first that did not pass.
    message: what went wrong, '' if nothing.
    passed: cases that passed.
    total: cases that there are.
    stdout: what it wrote, of the first case that did not pass, else of the last.
    stderr: the same of standard error.
    seconds: of wall-clock time, all runs together.
  """

  kind: str
  message: str
  passed: int
  total: int
  stdout: str = ''
  stderr: str = ''
  seconds: float = 0.0


def of_run(answer: dict[str, Any], limits: Limits) -> Verdict:
  """The verdict of one run without tests."""
  kind, message = _ending(answer, limits)
  return _verdict(answer, kind, message, int(kind == 'passed'), 1)


def of_tests(answer: dict[str, Any], num_asserts: int, limits: Limits) -> Verdict:
  """The verdict of a program with its tests, of which `num_asserts` stand in their source."""
  kind, message = _ending(answer, limits)
  if kind == 'passed' and not answer.get('done'):
    kind, message = 'error', 'it ended before its tests did'
  passed, failed = answer.get('passed', 0), answer.get('failed', 0)
  total = max(1, passed + failed)
  if kind != 'passed':
    total = max(num_asserts, passed + failed + (not failed))
  elif failed:
    kind = 'refused' if answer.get('refused') else 'wrong'
    message = '; '.join(answer['messages'])
  elif not passed:  # tests that speak by other means than asserts
    passed = 1
  return _verdict(answer, kind, message, passed, total)


def of_cases(
  answers: Sequence[dict[str, Any]],
  expected: Sequence[str],
  compare: Callable[[dict[str, Any], str], str],
  limits: Limits,
) -> Verdict:
  """The verdict of several runs.

  Args:
    answers: of the supervisor.
    expected: what each must give.
    compare: `compare(answer, expected)` says what differs, '' if nothing.
    limits: that the runs had.
  """
  found = []
  for number, (answer, wanted) in enumerate(zip(answers, expected), 1):
    kind, message = _ending(answer, limits)
    if kind == 'passed' and (message := compare(answer, wanted)):
      kind = 'wrong'
    found.append(_verdict(answer, kind, message and f'case {number}: {message}', 0, 0))
  passed = sum(verdict.kind == 'passed' for verdict in found)
  first = next((verdict for verdict in found if verdict.kind != 'passed'), found[-1])
  seconds = sum(verdict.seconds for verdict in found)
  return dataclasses.replace(first, passed=passed, total=len(found), seconds=seconds)


def _verdict(answer: dict[str, Any], kind: str, message: str, passed: int, total: int) -> Verdict:
  streams = (answer.get('stdout', ''), answer.get('stderr', ''), answer.get('seconds', 0.0))
  return Verdict(kind, message, passed, total, *streams)


def _ending(answer: dict[str, Any], limits: Limits) -> tuple[str, str]:
  """(kind, message) of how a run ended."""
  fixed = {
    'timeout': ('timeout', f'over {limits.wall_seconds} s of wall-clock time'),
    'not run': ('timeout', f'not run: over {limits.total_seconds} s for all cases'),
    'output': ('output', f'wrote more than {limits.output_mib} MiB'),
    'processes': ('refused', f'more than {limits.processes} processes'),
    'lost': ('error', 'the process that waits for it was ended (out of memory?)'),
    'leftovers': ('error', 'processes of it could not be ended'),
  }
  if answer['end'] in fixed:
    return fixed[answer['end']]
  if 'error' in answer:
    return _raised(answer, limits)
  status = answer['status']
  number = status & 0x7F
  over = answer.get('cpu', 0.0) >= limits.cpu_seconds
  if number == signal.SIGXCPU or (number == signal.SIGKILL and over):
    return 'timeout', f'over {limits.cpu_seconds} s of CPU time'
  if number == signal.SIGXFSZ:
    return fixed['output']
  if number:
    return 'error', f'ended by {signal.Signals(number).name}'
  if status >> 8:
    return 'error', f'ended with exit code {status >> 8}'
  return 'passed', ''


def _raised(answer: dict[str, Any], limits: Limits) -> tuple[str, str]:
  name, message = answer['error'], answer['message']
  if name == 'MemoryError' or answer['number'] == errno.ENOMEM:
    return 'memory', f'over {limits.memory_mib} MiB of address space'
  if name == 'AssertionError':
    return 'wrong', message
  if 'refused' in answer:
    return 'refused', message
  if name == 'BlockingIOError' and answer['number'] == errno.EAGAIN:
    return 'refused', f'more than {limits.processes} processes'
  if answer['number'] in _FULL:
    return 'output', f'wrote more than {limits.output_mib} MiB: {message}'
  return 'error', message


# ------------------------------------------------------------------------------- comparisons


def same_output(answer: dict[str, Any], expected: str) -> str:
  """What differs in standard output, '' if nothing.

  Lines are compared without white space at their ends, empty lines at the end do not count, and a
  line of numbers equals one with the same values (`1.50 2` and `1.5 2.0`).
  """
  lines, wanted = (_lines(text) for text in (answer['stdout'], expected))
  for number, (line, other) in enumerate(zip(lines, wanted), 1):
    if line != other and not _same_numbers(line, other):
      return f'line {number} is {line[:80]!r}, expected {other[:80]!r}'
  if len(lines) != len(wanted):
    return f'{len(lines)} lines, expected {len(wanted)}'
  return ''


def same_value(answer: dict[str, Any], expected: str) -> str:
  """What differs in a returned value, '' if nothing; tuples are lists, as JSON has it."""
  wanted = json.loads(expected)
  if not answer['results']:
    return 'nothing was returned'
  value = answer['results'][0]
  if _same_json(value, wanted):
    return ''
  return f'returned {json.dumps(value)[:80]}, expected {json.dumps(wanted)[:80]}'


def _lines(text: str) -> list[str]:
  return [line.rstrip() for line in text.rstrip().split('\n')]


def _same_numbers(line: str, other: str) -> bool:
  pieces, wanted = line.split(), other.split()
  try:
    return len(pieces) == len(wanted) and all(
      decimal.Decimal(a) == decimal.Decimal(b) for a, b in zip(pieces, wanted)
    )
  except decimal.InvalidOperation:
    return False


def _same_json(value: Any, wanted: Any) -> bool:
  if isinstance(value, list) and isinstance(wanted, list):
    return len(value) == len(wanted) and all(map(_same_json, value, wanted))
  if isinstance(value, dict) and isinstance(wanted, dict):
    return value.keys() == wanted.keys() and all(_same_json(value[k], wanted[k]) for k in wanted)
  if isinstance(value, bool) or isinstance(wanted, bool):
    return value is wanted
  if isinstance(value, float) and isinstance(wanted, float):
    return value == wanted or (math.isnan(value) and math.isnan(wanted))
  return value == wanted


# ------------------------------------------------------------------------------- asserts


def count_asserts(tests: Sequence[str]) -> tuple[str, int]:
  """Tests whose asserts report instead of ending them: (source, asserts in it).

  An assert within `try` stays as it is: what it raises may be meant to be caught.

  Raises:
    ValueError: a test is no Python; names it.
  """
  rewriter, bodies = _Rewriter(), []
  for test in tests:
    try:
      bodies += ast.parse(test).body
    except (SyntaxError, ValueError) as error:
      raise ValueError(f'a test is no Python: {test[:200]!r}: {error}') from None
  module = rewriter.visit(ast.Module(body=bodies, type_ignores=[]))
  return ast.unparse(ast.fix_missing_locations(module)), rewriter.num


class _Rewriter(ast.NodeTransformer):
  """`assert x` → `try: assert x / except BaseException: case.failed('…') / else: case.passed()`."""

  def __init__(self) -> None:
    self.num = 0

  def visit_Try(self, node: ast.Try) -> ast.Try:
    return node

  def visit_Assert(self, node: ast.Assert) -> ast.Try:
    self.num += 1
    failed, passed = (
      ast.parse(f'{_CASE}.{call}').body
      for call in (f'failed({ast.unparse(node.test)[:200]!r})', 'passed()')
    )
    handler = ast.ExceptHandler(type=ast.Name('BaseException', ast.Load()), name=None, body=failed)
    return ast.Try(body=[node], handlers=[handler], orelse=passed, finalbody=[])
