"""Python as a tool: programs of the policy, run in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljax.environments.tools import ToolError
from rljax.rewards import sandbox
from rljax.rewards.verdicts import Limits


def python(
  arguments: Any,
  *,
  allow: bool = False,
  cpu_seconds: int = 4,
  wall_seconds: float = 10.0,
  memory_mib: int = 512,
  max_characters: int = 2000,
) -> str:
  """What a program prints, and the last line of its error.

  Every call is a process of its own: nothing is kept from the calls before.

  Args:
    arguments: the program, or {'code': …}.
    allow: True = code from a model may run here; see `rewards.sandbox`.
    cpu_seconds, wall_seconds, memory_mib: limits of a call.
    max_characters: of the output; a longer one is cut in the middle.

  Raises:
    NotAllowedError: `allow` is not True.
    ToolError: no program.

  Examples:
    >>> try:
    ...   environments.python('print(1 + 1)')  # programs of a model run where the config allows it
    ... except Exception as error:
    ...   print(type(error).__name__)
    NotAllowedError
  """
  source = arguments.get('code', '') if isinstance(arguments, Mapping) else arguments
  if not isinstance(source, str) or not source.strip():
    raise ToolError('there is no program')
  limits = Limits(cpu_seconds=cpu_seconds, wall_seconds=wall_seconds, memory_mib=memory_mib)
  found = sandbox.run(source, limits=limits, allow=allow)
  text = found.stdout.rstrip('\n')
  if found.kind != 'passed':
    text = f'{text}\n{found.kind}: {found.message}'.lstrip('\n')
  if len(text) > max_characters:
    half = max_characters // 2
    text = f'{text[:half]}\n…\n{text[len(text) - half :]}'
  return text or '(no output)'
