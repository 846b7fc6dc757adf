"""Names in a config → functions, with their arrays and hyper-parameters checked at start-up.

The rule. In a stage function positional parameters are arrays, named as in `Batch` (with a default
of None: optional); keyword-only parameters are hyper-parameters, named as in the config, each with
its one default. Two names are reserved among the keyword-only ones: `key` (the function draws) and
`state` (it remembers: it returns `(result, state)`, and `<name>_init` stands beside it: the first
state, a pytree of arrays, from the hyper-parameters that it names among its own keyword-only ones).
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

RESERVED = ('key', 'state')
CUTOFF = 0.6  # likeness of names below which one is no hint for the other
ABBREVIATED = 0.9  # likeness of a name and its initials, one of its words, or its beginning
SHORTEST = 3  # letters of such a beginning
PLACE = 0.3  # what standing in the right place counts against being called alike


class BindingError(ValueError):
  """A config names something that does not exist."""


def near(name: str, known: Iterable[str]) -> str:
  """A hint for a message: '; did you mean …?' or ''; the nearest first.

  Of a path (dots or slashes) the last part counts most: a key is rather looked for in the wrong
  place than called by another name.
  """
  scores = {other: _likeness(name, other) for other in known}
  close = sorted((o for o, score in scores.items() if score), key=scores.get, reverse=True)
  close = close or difflib.get_close_matches(name, list(scores), cutoff=CUTOFF)
  return f'; did you mean {", ".join(close[:3])}?' if close else ''


def _likeness(name: str, other: str) -> tuple[float, float] | None:
  """How near a known name is to the one that was written; None: too far."""
  (*parents, last), (*known, end) = re.split('[./]', name), re.split('[./]', other)
  whole, own = _ratio(name, other), _ratio(last, end)
  parts = end.split('_')
  initials = ''.join(part[:1] for part in parts)
  if last in parts or (last == initials and len(parts) > 1):  # kl, lr
    own = max(own, ABBREVIATED)
  elif len(last) >= SHORTEST and end.startswith(last):
    own = max(own, ABBREVIATED)
  if own < CUTOFF:
    return None
  there = sum(part in known for part in parents) / len(parents) if parents else 1.0
  nearness = max(there, _ratio('.'.join(parents), '.'.join(known)))
  return own + PLACE * nearness, whole


def _ratio(a: str, b: str) -> float:
  return difflib.SequenceMatcher(None, a, b).ratio()


def resolve(name: str) -> Callable[..., Any]:
  """The object of a dotted name, looked up under `rljax.` first and then as an absolute name.

  Raises:
    BindingError: names the part that was not found, with near names.
  """
  if not isinstance(name, str) or '.' not in name:
    raise BindingError(f"{name!r} is no dotted name such as 'losses.clipped_surrogate'")
  module_name, attribute = name.rsplit('.', 1)
  tried, missing = [], []
  for full in (f'rljax.{module_name}', module_name):
    if full == 'rljax.__main__':
      continue  # a function of the user's script or notebook is meant
    try:
      module = importlib.import_module(full)
    except ModuleNotFoundError as error:
      if error.name and not (full == error.name or full.startswith(f'{error.name}.')):
        raise
      tried.append(full)
      continue
    if hasattr(module, attribute):
      return getattr(module, attribute)
    public = [n for n in dir(module) if not n.startswith('_')]
    missing.append(f'{full} has no {attribute!r}{near(attribute, public)}')
  if missing:
    raise BindingError('; '.join(missing))
  raise BindingError(f'{name}: there is no module {" and no module ".join(tried)}')


@dataclasses.dataclass(frozen=True)
class Signature:
  """What a stage function takes: arrays, optional arrays, hyper-parameters, reserved names."""

  arrays: tuple[str, ...]
  optional: tuple[str, ...]
  hyper: dict[str, Any]
  required: tuple[str, ...]
  reserved: tuple[str, ...]


def signature(function: Callable[..., Any]) -> Signature:
  """Reads the rule of this module off `function`."""
  arrays, optional, hyper, required, reserved = [], [], {}, [], []
  for name, parameter in inspect.signature(function).parameters.items():
    empty = parameter.default is inspect.Parameter.empty
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
      if name in RESERVED:
        reserved.append(name)
      elif empty:
        required.append(name)
      else:
        hyper[name] = parameter.default
    elif parameter.kind in (
      inspect.Parameter.POSITIONAL_ONLY,
      inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
      (arrays if empty else optional).append(name)
  return Signature(tuple(arrays), tuple(optional), hyper, tuple(required), tuple(reserved))


def fill(node: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
  """A node with all hyper-parameters of the function that it names.

  Returns:
    (filled node, names in the node that the function does not know, which are left out).
  """
  found = signature(resolve(node['name']))
  known = {*found.hyper, *found.required}
  filled = {'name': node['name'], **found.hyper}
  filled.update({k: v for k, v in node.items() if k in known})
  return filled, sorted(k for k in node if k not in known and k != 'name')


def is_schedule(value: Any) -> bool:
  """True for a dict, plain or of ml_collections, in the place of a number."""
  return hasattr(value, 'keys')


def value_at(value: Any, step: int) -> Any:
  """A hyper-parameter at an iteration: itself, or the value of a schedule.

  A schedule is `dict(schedule='linear' | 'cosine', start=…, end=…, steps=…)`; it stays at `end`.
  """
  if not is_schedule(value):
    return value

  fraction = min(step / max(value['steps'], 1), 1.0)
  if value['schedule'] == 'cosine':
    fraction = 0.5 - 0.5 * math.cos(math.pi * fraction)
  elif value['schedule'] != 'linear':
    raise BindingError(f"schedule {value['schedule']!r} is neither 'linear' nor 'cosine'")
  return value['start'] + fraction * (value['end'] - value['start'])


@dataclasses.dataclass(frozen=True)
class Bound:
  """A stage function with its static hyper-parameters; the others are traced and given at call.

  Attributes:
    name: of the function.
    function: the function.
    arrays: names of the arrays that it takes.
    optional: names of the arrays that it takes where they exist.
    static: hyper-parameters that are part of the program (str, bool, int, None, tuples).
    scheduled: float hyper-parameters (numbers or schedules): traced.
    reserved: of 'key' and 'state', those that it takes.
    init: `<name>_init` of a function that takes 'state'.
  """

  name: str
  function: Callable[..., Any]
  arrays: tuple[str, ...]
  optional: tuple[str, ...]
  static: dict[str, Any]
  scheduled: dict[str, Any]
  reserved: tuple[str, ...]
  init: Callable[..., Any] | None = None

  @property
  def is_of_rljax(self) -> bool:
    """Whether the function is one of rljax's; of others nothing is known."""
    return self.function.__module__.startswith('rljax.')

  def first_state(self) -> Any:
    """What a function that remembers knows before its first call."""
    given, wanted = {**self.static, **self.hyper(0)}, signature(self.init)
    return self.init(**{k: given[k] for k in (*wanted.hyper, *wanted.required) if k in given})

  def hyper(self, step: int) -> dict[str, float]:
    """The traced hyper-parameters at iteration `step`, as Python floats."""
    return {k: float(value_at(v, step)) for k, v in self.scheduled.items()}

  def __call__(
    self, arrays: Mapping[str, Any], hyper: Mapping[str, Any] | None = None, **reserved: Any
  ) -> Any:
    for name in self.arrays:
      if name not in arrays:
        raise BindingError(f'{self.name}: takes the array {name!r}, which this stage does not make')
    positional = [arrays[name] for name in self.arrays]
    optional = {n: arrays[n] for n in self.optional if arrays.get(n) is not None}
    traced = self.scheduled if hyper is None else hyper
    wanted = {n: reserved[n] for n in self.reserved}
    return self.function(*positional, **optional, **self.static, **traced, **wanted)


def _is_traced(value: Any, default: Any) -> bool:
  whole = isinstance(value, int) and not isinstance(value, bool)
  return isinstance(value, float) or is_schedule(value) or (isinstance(default, float) and whole)


def bind(node: Mapping[str, Any], available: Iterable[str] | None = None) -> Bound:
  """Checks a config node against the signature of its function.

  Args:
    node: `dict(name='losses.clipped_surrogate', clip_low=0.2)`.
    available: array names that exist at this stage; None = not checked.

  Raises:
    BindingError: an unknown function, hyper-parameter or array, or a missing hyper-parameter.
  """
  node = dict(node)
  function = resolve(node.pop('name'))
  label = function.__name__
  found = signature(function)
  known = [*found.hyper, *found.required]
  for name in node:
    if name not in known:
      raise BindingError(
        f'{label}: unknown hyper-parameter {name!r}; '
        f'it accepts {", ".join(sorted(known)) or "none"}'
      )
  missing = [name for name in found.required if name not in node]
  if missing:
    raise BindingError(f'{label}: hyper-parameter {missing[0]!r} has no default and is not given')
  if available is not None:
    names = list(available)
    for name in found.arrays:
      if name not in names:
        raise BindingError(
          f'{label}: takes the array {name!r}, which does not exist here; '
          f'there are {", ".join(sorted(names))}'
        )
  init = None
  if 'state' in found.reserved:
    init = getattr(sys.modules[function.__module__], f'{label}_init', None)
    if init is None:
      raise BindingError(
        f'{label}: takes state, so {label}_init must stand beside it in {function.__module__}'
      )
  values = {**found.hyper, **node}
  traced = {k: v for k, v in values.items() if _is_traced(v, found.hyper.get(k))}
  static = {k: v for k, v in values.items() if k not in traced}
  return Bound(
    name=label,
    function=function,
    arrays=found.arrays,
    optional=found.optional,
    static=static,
    scheduled=traced,
    reserved=found.reserved,
    init=init,
  )
