"""How a reward function is named, called and read. Workers import this file: standard library only.
"""

from __future__ import annotations

import functools
import inspect
import math
import random
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rljax import binding, places

FIELDS = ('completion', 'prompt', 'answer', 'metadata', 'tokens', 'truncated')
"""The parameters that a reward may have; it takes the ones that it names."""

GROUP_FIELDS = ('completions', 'prompts', 'answers', 'metadata', 'tokens', 'truncated')
"""Those of a reward of a whole group: lists with an entry for each of its samples."""

LEVELS = {'sample': FIELDS, 'group': GROUP_FIELDS, 'batch': (*GROUP_FIELDS, 'groups')}
"""Level → parameters. `groups` are numbers: samples of one group have the same."""

_ANY = {'sample': 'a reward', 'group': 'a reward of groups', 'batch': 'a reward of batches'}
_LARGEST = 3.4028234e38  # above this a float32 is inf
_LONGEST = 200  # characters of what an exception says


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


_listeners: list[Callable[[], None]] = []


def progress() -> None:
  """Tells a call of several samples that one more is done: its limits of time start anew.

  A reward of a group or a batch may call it between its samples, from any thread.
  """
  for listener in _listeners:
    listener()


def on_progress(listener: Callable[[], None]) -> None:
  """Has `listener()` called at each `progress`."""
  _listeners.append(listener)


def label_of(function: Callable[..., Any]) -> str:
  """What messages call a reward."""
  while isinstance(function, functools.partial):
    function = function.func
  return getattr(function, '__name__', None) or type(function).__name__


def level(function: Callable[..., Any]) -> str:
  """What one call of a reward sees: a 'sample', a 'group' or a 'batch', as its `level` says.

  A reward without that attribute is one of samples.

  Raises:
    BindingError: another level.
  """
  found = function
  while isinstance(found, functools.partial) and not hasattr(found, 'level'):
    found = found.func
  found = getattr(found, 'level', 'sample')
  if found not in LEVELS:
    raise binding.BindingError(
      f'reward {label_of(function)}: level {found!r} is none of {", ".join(LEVELS)}'
    )
  return found


def fields(function: Callable[..., Any]) -> tuple[str, ...]:
  """The fields that `function` takes.

  Raises:
    BindingError: it has a parameter without default that is no field, or sees several samples and
      takes nothing of them.
  """
  label, known_fields = label_of(function), LEVELS[level(function)]
  try:
    parameters = inspect.signature(function).parameters.values()
  except (TypeError, ValueError) as error:
    raise binding.BindingError(f'reward {label}: its parameters cannot be read: {error}') from None
  if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
    return known_fields
  for parameter in parameters:
    known = parameter.name in known_fields
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and known:
      raise binding.BindingError(f'reward {label}: {parameter.name!r} must not be positional-only')
    needed = parameter.default is inspect.Parameter.empty
    variable = parameter.kind is inspect.Parameter.VAR_POSITIONAL
    if needed and not known and not variable:
      raise binding.BindingError(
        f'reward {label}: takes {parameter.name!r}, which does not exist; '
        f'{_ANY[level(function)]} may take {", ".join(known_fields)}'
      )
  names = tuple(p.name for p in parameters if p.name in known_fields)
  if not names and level(function) != 'sample':
    raise binding.BindingError(
      f'reward {label}: takes nothing of its samples; it may take {", ".join(known_fields)}'
    )
  return names


def call(
  function: Callable[..., Any], names: tuple[str, ...], values: tuple, seed: int
) -> list[Outcome]:
  """Calls a reward once; whatever happens becomes an `Outcome`.

  Returns:
    One for each sample of the call; a single one if it holds for all of them.
  """
  random.seed(seed)
  if 'numpy' in sys.modules:  # its random module is loaded when it is first touched
    sys.modules['numpy'].random.seed(seed & 0xFFFFFFFF)
  try:
    returned = function(**dict(zip(names, values)))
    if level(function) == 'sample':
      return [read(returned)]
    return read_several(returned, len(values[0]))
  except MemoryError:
    return [failure('MemoryError: over the memory limit', spent=True)]
  except (Exception, SystemExit) as error:
    return [raised(error)]


def raised(error: BaseException) -> Outcome:
  """The outcome of a sample whose reward raised; says where in the code of its author."""
  text = ' '.join(str(error).split())
  return failure(f'{type(error).__name__}: {text}'[:_LONGEST] + places.of(error))


def read_several(returned: Any, size: int) -> list[Outcome]:
  """What a reward of `size` samples returned; a single outcome if it holds for all of them."""
  if hasattr(returned, 'tolist'):  # an array
    returned = returned.tolist()
  if not isinstance(returned, Sequence) or isinstance(returned, str | bytes):
    return [failure(f'returned {reprlib.repr(returned)}, which is no list of rewards')]
  if len(returned) != size:
    return [failure(f'returned {len(returned)} rewards for {size} samples')]
  return [read(one) for one in returned]


def read(returned: Any) -> Outcome:
  """What a reward returned for a sample: a number, a dict with 'reward', or an exception.

  An exception in a list of rewards is the failure of one sample alone.
  """
  components = {}
  if isinstance(returned, Exception):
    return raised(returned)
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
