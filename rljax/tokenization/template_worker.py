"""The process that renders a chat template. It is started as a script, without the environment.

It reads a line of JSON with the template and its limits, then a line for each conversation, and
answers each with a line. The kernel's timer ends it when a rendering takes too long, and its memory
is bounded: no template can hang or fill its parent.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def main() -> None:
  """Serves conversations until standard input ends."""
  lines = os.dup(1)
  os.dup2(2, 1)  # nothing else runs into the answers
  signal.signal(signal.SIGALRM, signal.SIG_DFL)
  setup = json.loads(sys.stdin.readline())
  sys.path[:] = setup['path']
  importlib.import_module('jinja2.sandbox')  # before memory is bounded
  _limit_memory(setup['memory_mib'])
  answer, render = _bounded(setup['seconds'], lambda: compiled(setup['template'], setup['today']))
  _send(lines, {'ready': True, **answer})
  for line in sys.stdin if render else ():
    answer, text = _bounded(setup['seconds'], lambda line=line: render(**json.loads(line)))
    if text is not None and len(text) > setup['characters']:
      answer, text = {'error': f'gives {len(text)} characters, over {setup["characters"]}'}, None
    _send(lines, {**answer, 'text': text})


def compiled(template: str, today: str) -> Callable[..., str]:
  """A function from the template's variables to text; `today` is what it sees as the date."""
  import jinja2
  import jinja2.ext
  import jinja2.sandbox

  class Generation(jinja2.ext.Extension):
    """{% generation %} marks assistant text in some templates; the text is kept as it is."""

    tags = {'generation'}

    def parse(self, parser):
      next(parser.stream)
      return parser.parse_statements(('name:endgeneration',), drop_needle=True)

  def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **kwargs) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **kwargs)

  environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=['jinja2.ext.loopcontrols', Generation]
  )
  environment.filters['tojson'] = to_json
  environment.globals['raise_exception'] = _refuse
  environment.globals['strftime_now'] = datetime.date.fromisoformat(today).strftime
  return environment.from_string(template).render


class _Refused(Exception):
  """The template does not take these messages."""


def _refuse(message: str) -> None:
  raise _Refused(message)


def _bounded(seconds: float, work: Callable[[], Any]) -> tuple[dict[str, str], Any]:
  """({}, result), or ({what went wrong: text}, None); the process ends if it takes too long."""
  signal.setitimer(signal.ITIMER_REAL, seconds)
  try:
    return {}, work()
  except _Refused as error:
    return {'refused': str(error)[:500]}, None
  except Exception as error:
    said = 'needs too much memory' if isinstance(error, MemoryError) else str(error)
    return {'error': f'{type(error).__name__}: {said}'[:500]}, None
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory(mib: int) -> None:
  import resource

  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  if sys.platform == 'linux':
    resource.setrlimit(resource.RLIMIT_AS, (mib * 2**20, mib * 2**20))


def _send(lines: int, message: dict[str, Any]) -> None:
  data = json.dumps(message).encode() + b'\n'
  try:
    while data:
      data = data[os.write(lines, data) :]
  except BrokenPipeError:  # the parent is gone
    os._exit(1)


if __name__ == '__main__':
  main()
