"""How a reward function is named, called and read. Workers import this file: standard library only.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import random
import reprlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rljax import binding

FIELDS = ('completion', 'prompt', 'answer', 'metadata', 'tokens', 'truncated')
"""The parameters that a reward may have; it takes the ones that it names."""

_LARGEST = 3.4028234e38  # above this a float32 is inf


class Outcome(NamedTuple):
  """What one call gave.

  Attributes:
    reward: NaN if there is none.
    components: floats by name.
    message: what went wrong, '' if nothing.
    spent: True if the process should not be used again.
    timed_out: True if it was over a limit of time.
  """

  reward: float
  components: dict[str, float]
  message: str = ''
  spent: bool = False
  timed_out: bool = False


def failure(message: str, **flags: bool) -> Outcome:
  """The outcome of a sample that has no reward."""
  return Outcome(math.nan, {}, message, **flags)


def from_name(path: str, hyper: Mapping[str, Any]) -> Callable[..., Any]:
  """The reward `rljax.<path>` or `<path>`, with its hyper-parameters set."""
  return with_hyper(binding.resolve(path), hyper)


def from_module(module: str, qualified: str) -> Callable[..., Any]:
  """The object of an absolute module name and a qualified name in it."""
  return functools.reduce(getattr, qualified.split('.'), importlib.import_module(module))


def with_hyper(function: Callable[..., Any], hyper: Mapping[str, Any]) -> Callable[..., Any]:
  """The reward with the hyper-parameters of its config node."""
  return functools.partial(function, **hyper) if hyper else function


def fields(function: Callable[..., Any]) -> tuple[str, ...]:
  """The fields that `function` takes.

  Raises:
    BindingError: it has a parameter without default that is no field.
  """
  label = getattr(function, '__name__', None) or type(function).__name__
  try:
    parameters = inspect.signature(function).parameters.values()
  except (TypeError, ValueError) as error:
    raise binding.BindingError(f'reward {label}: its parameters cannot be read: {error}') from None
  if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
    return FIELDS
  for parameter in parameters:
    known = parameter.name in FIELDS
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and known:
      raise binding.BindingError(f'reward {label}: {parameter.name!r} must not be positional-only')
    needed = parameter.default is inspect.Parameter.empty
    variable = parameter.kind is inspect.Parameter.VAR_POSITIONAL
    if needed and not known and not variable:
      raise binding.BindingError(
        f'reward {label}: takes {parameter.name!r}, which does not exist; '
        f'a reward may take {", ".join(FIELDS)}'
      )
  return tuple(p.name for p in parameters if p.name in FIELDS)


def call(function: Callable[..., Any], names: tuple[str, ...], values: tuple, seed: int) -> Outcome:
  """Calls a reward once; whatever happens becomes an `Outcome`."""
  random.seed(seed)
  if 'numpy' in sys.modules:  # its random module is loaded when it is first touched
    sys.modules['numpy'].random.seed(seed & 0xFFFFFFFF)
  try:
    return _read(function(**dict(zip(names, values))))
  except MemoryError:
    return failure('MemoryError: over the memory limit', spent=True)
  except (Exception, SystemExit) as error:
    text = ' '.join(str(error).split())
    return failure(f'{type(error).__name__}: {text}'[:200])


def _read(returned: Any) -> Outcome:
  components = {}
  if isinstance(returned, Mapping):
    if 'reward' not in returned:
        return failure(f"returned a dict without 'reward': {reprlib.repr(returned)}")
    components = {str(k): _number(v) for k, v in returned.items() if k != 'reward'}
    returned = returned['reward']
  value = _number(returned)
  if not math.isfinite(value):
    message = f'returned {reprlib.repr(returned)}, which is no finite number'
    return Outcome(math.nan, components, message)
  return Outcome(value, components)


def _number(value: Any) -> float:
  """`value` as a float, NaN if it is no finite number."""
  if isinstance(value, str | bytes) or value is None:
    return math.nan
  try:
    value = float(value)
  except (TypeError, ValueError, OverflowError):
    return math.nan
  return value if abs(value) <= _LARGEST else math.nan
