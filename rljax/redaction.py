"""Secrets of the environment: refused in configs, which are saved, and taken out of texts."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

SHORTEST = 8  # characters; a shorter value is a word that may stand anywhere
_VARIABLE = re.compile(
  r'(?:^|_)(?:key|apikey|token|secret|password|passwd|pass|credentials?)(?:_|$)', re.IGNORECASE
)
_CONFIG_KEY = re.compile(
  r'api[-_]?key|password|passwd|secret|authorization|(?:access|auth|bearer|hf)[-_]?token',
  re.IGNORECASE,
)
_IN_ADDRESS = re.compile(
  r'://[^/\s]*:[^/\s]*@|[?&](?:api[-_]?key|token|secret|sig)=', re.IGNORECASE
)
_named: set[str] = set()


def hide(variable: str) -> None:
  """Counts an environment variable among the secrets, whatever it is called."""
  _named.add(variable)


def known() -> dict[str, str]:
  """Name -> value of the environment variables that are secrets by their names, or by `hide`."""
  return {
    name: value.strip()
    for name, value in os.environ.items()
    if (name in _named or _VARIABLE.search(name))
    and len(value.strip()) >= SHORTEST
    and not value.startswith('/')  # of a file with the secret
  }


def redacted(text: str) -> str:
  """`text` with the name of the variable in the place of each secret."""
  for name, value in known().items():
    text = text.replace(value, f'<{name}>')
  return text


def check(config: Mapping[str, Any], where: str = 'config') -> None:
  """Refuses a config with a secret in it; the message does not repeat it.

  Raises:
    ValueError: a value has that of a secret variable in it, or a key or an address that is for one.
  """
  _walk(config, where, known())


def _walk(value: Any, where: str, secrets: Mapping[str, str]) -> None:
  if isinstance(value, Mapping):
    for key, item in value.items():
      if isinstance(item, str) and item and _CONFIG_KEY.fullmatch(str(key)):
        _refuse(f'{where}.{key}', 'holds a secret')
      _walk(item, f'{where}.{key}', secrets)
  elif isinstance(value, list | tuple):
    for item in value:
      _walk(item, where, secrets)
  elif isinstance(value, str):
    for name, secret in secrets.items():
      if secret in value:
        _refuse(where, f'holds the value of the environment variable {name}')
    if _IN_ADDRESS.search(value):
      _refuse(where, 'is an address with a password or a key in it')


def _refuse(where: str, what: str) -> None:
  raise ValueError(
    f'{where} {what}, and a config is written to the work directory; put it into an environment '
    "variable, which a judge's client finds by its key_variable"
  )


def excepthook(
  kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
  """Prints an error that nobody caught, as Python does, without secrets."""
  print(redacted(''.join(traceback.format_exception(kind, error, trace))), end='', file=sys.stderr)
