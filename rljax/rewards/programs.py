"""Rewards of completions that are programs: unit tests, and cases of standard input and output."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from rljax.rewards import fences, sandbox

_PYTHON = ('python', 'py', 'python3')
_SPARE_SECONDS = 2.0  # to start the sandbox and to end what runs in it
_FUTURE = re.compile(r'^from __future__ import .*$', re.MULTILINE)


def extract_code(completion: str) -> str:
  """The program in a completion: its last block of Python, see `fences.fenced_block`."""
  return fences.fenced_block(completion, _PYTHON)


def complete(preamble: str, code: str, entry_point: str) -> str:
  """The program that `code` makes of a beginning.

  Args:
    preamble: imports, helpers and the head of a function, as the prompt showed them; or ''.
    code: the rest of it, or a program that defines the function itself.
    entry_point: name of that function; '' = `code` stands behind `preamble` as a program.
  """
  defines = (
    rf'^(?:async\s+)?(?:def|class)\s+{re.escape(entry_point)}\b|^{re.escape(entry_point)}\s*='
  )
  if entry_point and not re.search(defines, code, re.MULTILINE):
    return preamble + code
  # Imports from the future must come first.
  future = '\n'.join(_FUTURE.findall(code))
  return f'{future}\n{preamble}\n{_FUTURE.sub("", code)}' if preamble else code


def unit_tests(
  completion: str,
  answer: Sequence[str],
  metadata: Mapping[str, Any],
  *,
  allow: bool = False,
  partial: float = 0.0,
  cpu_seconds: int = 4,
  total_seconds: float = 20.0,
  memory_mib: int = 512,
) -> dict[str, float]:
  """Whether a program passes tests that are made of asserts.

  Args:
    completion: text with a program, see `extract_code`.
    answer: tests, pieces of Python that are run behind the program in this order.
    metadata: 'preamble' and 'entry_point' as in `complete`, '' where they are absent.
    allow: True = code from a model may run here, see `rewards.sandbox`.
    partial: weight of the fraction of asserts that hold; the rest is the weight of 1 if all do,
      else 0.
    cpu_seconds: CPU time of the program with its tests, whole seconds.
    total_seconds: wall-clock time of the same.
    memory_mib: address space of it, MiB.

  Returns:
    'reward' and the components 'accuracy' (1 = all asserts hold), 'fraction' (that hold) and
    'timeout' (1 = over a limit of time).

  Raises:
    NotAllowedError: `allow` is not True.
    ValueError: this process has less time than `total_seconds`; or a test is no Python.
  """
  limits = _limits(cpu_seconds, total_seconds, total_seconds, memory_mib)
  preamble, entry_point = (metadata.get(key, '') for key in ('preamble', 'entry_point'))
  source = complete(preamble, extract_code(completion), entry_point)
  return _graded(sandbox.run_tests(source, answer, limits=limits, allow=allow), partial)


def stdin_cases(
  completion: str,
  answer: Sequence[tuple[str, str]],
  metadata: Mapping[str, Any],
  *,
  allow: bool = False,
  partial: float = 0.0,
  cpu_seconds: int = 4,
  total_seconds: float = 20.0,
  memory_mib: int = 512,
) -> dict[str, float]:
  """Whether a program writes what is expected for each input.

  Args:
    completion: text with a program, see `extract_code`.
    answer: (input, expected output) of each case, see `sandbox.run_cases`.
    metadata: 'function': the function to call instead of running a script; '' or absent = none.
    allow: True = code from a model may run here, see `rewards.sandbox`.
    partial: weight of the fraction of cases that pass; the rest is the weight of 1 if all do, else
      0.
    cpu_seconds: CPU time of one case, whole seconds; its wall-clock time may be 3 × as long.
    total_seconds: wall-clock time of all cases; those that are not run count as not passed.
    memory_mib: address space, MiB.

  Returns:
    as `unit_tests` does, of cases instead of asserts.

  Raises:
    NotAllowedError: `allow` is not True.
    ValueError: this process has less time than `total_seconds`; or there are no cases.
  """
  limits = _limits(cpu_seconds, min(3.0 * cpu_seconds, total_seconds), total_seconds, memory_mib)
  function = metadata.get('function', '')
  verdict = sandbox.run_cases(
    extract_code(completion), answer, function=function, limits=limits, allow=allow
  )
  return _graded(verdict, partial)


def _limits(
  cpu_seconds: int, wall_seconds: float, total_seconds: float, memory_mib: int
) -> sandbox.Limits:
  # A reward worker that is ended by its own timer gives no reward where the sandbox gives 0.
  left = signal.getitimer(signal.ITIMER_REAL)[0]
  if left and left < total_seconds + _SPARE_SECONDS:
    raise ValueError(
      f'a program may take total_seconds={total_seconds}, but its reward worker is ended after '
      f'{left:.1f} s, which is 5 × rewards.cpu_seconds; {_SPARE_SECONDS} s must lie between'
    )
  return sandbox.Limits(
    cpu_seconds=cpu_seconds,
    wall_seconds=wall_seconds,
    total_seconds=total_seconds,
    memory_mib=memory_mib,
  )


def _graded(verdict: sandbox.Verdict, partial: float) -> dict[str, float]:
  if not 0 <= partial <= 1:
    raise ValueError(f'partial={partial}; it is a weight between 0 and 1')
  accuracy, fraction = float(verdict.kind == 'passed'), verdict.passed / verdict.total
  return {
    'reward': (1 - partial) * accuracy + partial * fraction,
    'accuracy': accuracy,
    'fraction': fraction,
    'timeout': float(verdict.kind == 'timeout'),
  }
