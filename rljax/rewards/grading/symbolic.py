"""The slow path: are two formulas equal, by math-verify and SymPy? Imported on use.

math-verify's own limit of time is an alarm, which is the wall-clock timer of a reward worker and
raises in threads. So it is switched off, and a timer of CPU time that nothing else uses takes its
place; it needs the main thread of a process, as a worker of `Scorer` is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import re
import signal
import threading
from collections.abc import Iterator

MISSING = (
  "answers that are formulas need math-verify: pip install 'rljax[tasks] @ git+<repository URL>', "
  "or in a checkout pip install '.[tasks]'; with symbolic=False what the fast paths cannot decide "
  'counts as wrong'
)
CPU_SECONDS = 2.0  # for the formulas of one answer; below the limit of a worker
_MAX_LENGTH = 200  # characters
# Work that no timer ends: integers are multiplied in one step of the interpreter.
_COSTLY = re.compile(
  r'\^\s*\{?[^{}\s]*\^'  # a tower
  r'|\^\s*(?:\{[^{}]*[0-9]{4}|[0-9]{4})'  # a large exponent
  r'|[0-9]{40}|[0-9]{4}\s*!|!\s*[!)]'
  r'|\\(?:sum|prod|int|iint|iiint|oint|lim|limsup|liminf)(?![A-Za-z])'  # no answer, but work
)


class _OverTime(BaseException):
  """Not an Exception: SymPy catches those."""


def available() -> bool:
  """Whether math-verify is installed."""
  return importlib.util.find_spec('math_verify') is not None


def costly(text: str) -> str:
  """Why a formula is not given to SymPy; '' if it may be."""
  if len(text) > _MAX_LENGTH:
    return f'{len(text)} characters, at most {_MAX_LENGTH} go the slow path'
  found = _COSTLY.search(text.replace('**', '^'))
  return f'{found[0]!r} could cost too much' if found else ''


def equal(gold: str, given: str, seconds: float = CPU_SECONDS) -> tuple[bool | None, str]:
  """(whether two formulas in LaTeX are equal, why); None if neither could be shown.

  Args:
    gold, given: formulas without delimiters.
    seconds: of CPU time.

  Raises:
    ModuleNotFoundError: math-verify is not installed.
    RuntimeError: this is not the main thread.
  """
  if not available():
    raise ModuleNotFoundError(MISSING)
  if threading.current_thread() is not threading.main_thread():
    raise RuntimeError(
      'formulas are compared in the main thread of a process, because the limit of time is a '
      'signal: use Scorer with workers ≥ 1'
    )
  import math_verify

  logging.getLogger('math_verify').setLevel(logging.CRITICAL)  # it warns of its switched-off alarm
  config = [math_verify.LatexExtractionConfig()]
  try:
    with _limited(seconds):
      both = [
        math_verify.parse(
          f'${text}$', config, 'no_fallback', parsing_timeout=None, raise_on_error=True
        )
        for text in (gold, given)
      ]
      if not all(both):
        return None, 'symbolic: not read'
      # By default it takes numbers that differ by 1e-6 for equal.
      same = math_verify.verify(*both, float_rounding=12, timeout_seconds=None, raise_on_error=True)
  except _OverTime:
    return None, 'symbolic: over its time'
  except Exception as error:  # of a parser that meets anything
    return None, f'symbolic: {type(error).__name__}'
  return bool(same), 'symbolic: equal' if same else 'symbolic: not equal'


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
  def end(*_) -> None:
    raise _OverTime

  before = signal.signal(signal.SIGVTALRM, end)
  signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)
