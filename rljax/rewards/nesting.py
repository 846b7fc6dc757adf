"""Rewards with hyper-parameters, some of which are rewards or other objects that a node describes.

A function says so by attributes: `rewards_in = ('reward',)` are hyper-parameters that are rewards
(a dotted name, a function, a node, or a dict of these by name), `objects_in = ('generate',)` those
that are made by calling what a node names. `check(**hyper)` raises ValueError about those that are
given. Workers import this file: standard library only.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from rljax import binding
from rljax.rewards import calls

Reward = str | Callable[..., Any] | Mapping[str, Any]

_ORDER = tuple(calls.LEVELS)


class RewardError(ValueError):
  """A reward inside another one gave none."""


class Nested:
  """A reward inside another one.

  Attributes:
    label: what messages call it.
    level: what one call of it sees.
  """

  def __init__(self, label: str, function: Callable[..., Any]) -> None:
    self.label = label
    self.level = calls.level(function)
    self._function = function
    self._names = calls.fields(function)

  def __call__(self, given: Mapping[str, Any]) -> dict[str, float]:
    """'reward' and the components, for one sample.

    Args:
      given: the fields of a sample.

    Raises:
      RewardError: it returned no number.
      BindingError: it is a reward of more than a sample.
    """
    if self.level != 'sample':
      raise binding.BindingError(
        f'{self.label} is a reward of a whole {self.level}; give it in a config node, '
        'dict(name=…, …), to the Scorer'
      )
    return _value(self.label, calls.read(self._function(**{n: given[n] for n in self._names})))

  def many(self, given: Mapping[str, Any]) -> list[calls.Outcome]:
    """An outcome for each sample, whatever the level of this reward.

    Args:
      given: lists of the fields of a group, or of a batch with its 'groups'.
    """
    size = len(given['completions'])
    if self.level == 'sample':
      return [self._outcomes(_sample(given, i), _read_one)[0] for i in range(size)]
    groups = given.get('groups', [0] * size) if self.level == 'group' else [0] * size
    found: list[calls.Outcome | None] = [None] * size
    for number in dict.fromkeys(groups):
      places = [i for i, group in enumerate(groups) if group == number]
      part = {name: [given[name][i] for i in places] for name in self._names}
      outcomes = self._outcomes(part, functools.partial(calls.read_several, size=len(places)))
      if len(outcomes) != len(places):
        outcomes = outcomes * len(places)
      for place, outcome in zip(places, outcomes):
        found[place] = outcome
    return found

  def _outcomes(
    self, given: Mapping[str, Any], read: Callable[[Any], list[calls.Outcome]]
  ) -> list[calls.Outcome]:
    calls.progress()
    try:
      return read(self._function(**{name: given[name] for name in self._names}))
    except MemoryError:  # the process is to be replaced
      raise
    except Exception as error:
      return [calls.raised(error)]


class _Known:
  """In the place of a `Nested` where its reward of the sample is known already."""

  def __init__(self, label: str, outcome: calls.Outcome) -> None:
    self._label, self._outcome = label, outcome

  def __call__(self, given: Mapping[str, Any]) -> dict[str, float]:
    return _value(self._label, self._outcome)


class _Lifted:
  """A reward of samples some of whose parts are rewards of groups or of a batch.

  The parts are asked first, each for all samples; then the reward is called for each sample.
  """

  def __init__(self, function: Callable[..., Any], parts: Mapping[str, Any], level: str) -> None:
    self.__name__ = calls.label_of(function)
    self.level = level
    self._function, self._parts = function, parts
    self._names = calls.fields(functools.partial(function, **parts))

  def __call__(self, **given: Any) -> list[Any]:
    known: dict[Nested, list[calls.Outcome]] = {}

    def ask(nested: Nested) -> Nested:
      known[nested] = nested.many(given)
      return nested

    _walk(self._parts, ask)
    found = []
    for i in range(len(given['completions'])):
      parts = _walk(self._parts, lambda nested, i=i: _Known(nested.label, known[nested][i]))
      sample = _sample(given, i)
      try:
        found.append(self._function(**{name: sample[name] for name in self._names}, **parts))
      except MemoryError:
        raise
      except Exception as error:
        found.append(error)
    return found


def from_name(path: str, hyper: Mapping[str, Any]) -> Callable[..., Any]:
  """The reward `rljax.<path>` or `<path>`, with its hyper-parameters set."""
  return with_hyper(binding.resolve(path), hyper)


def from_module(module: str, qualified: str) -> Callable[..., Any]:
  """The object of an absolute module name and a qualified name in it."""
  return functools.reduce(getattr, qualified.split('.'), importlib.import_module(module))


def with_hyper(function: Callable[..., Any], hyper: Mapping[str, Any]) -> Callable[..., Any]:
  """The reward with the hyper-parameters of its config node, rewards and objects in it made.

  Raises:
    BindingError: an unknown or a missing hyper-parameter, here or in a reward inside.
  """
  label = calls.label_of(function)
  _check(label, function, hyper)
  if hasattr(function, 'check'):
    try:
      function.check(**hyper)
    except ValueError as error:
      raise binding.BindingError(str(error)) from None
  hyper = dict(hyper)
  for name in getattr(function, 'objects_in', ()):
    if name in hyper:
      hyper[name] = made(hyper[name], f'{label}.{name}')
  parts = {
    name: _nested(hyper.pop(name), f'{label}.{name}', name)
    for name in getattr(function, 'rewards_in', ())
    if hyper.get(name) is not None
  }
  bound = functools.partial(function, **hyper) if hyper else function
  levels = {calls.level(function)}
  _walk(parts, lambda nested: levels.add(nested.level))
  highest = max(levels, key=_ORDER.index)
  if highest != calls.level(function):
    if calls.level(function) == 'sample':
      return _Lifted(bound, parts, highest)
    raise binding.BindingError(f'{label} sees a group and cannot hold a reward of a whole batch')
  return functools.partial(bound, **parts) if parts else bound


def nested(reward: Any, label: str) -> Nested | _Known:
  """A reward that a function was given as a hyper-parameter, whichever way it was called."""
  if isinstance(reward, Nested | _Known):
    return reward
  try:
    return _made_once(json.dumps(plain(reward), sort_keys=True), label)
  except TypeError:  # there is a function in it
    return _nested(reward, label, label)


@functools.lru_cache(maxsize=256)
def _made_once(node: str, label: str) -> Nested:
  return _nested(json.loads(node), label, label)


def made(value: Any, where: str) -> Any:
  """The object of a node: what it names, called with the rest of it; anything else is itself."""
  if not hasattr(value, 'keys'):
    return binding.resolve(value) if isinstance(value, str) else value
  rest = dict(value)
  if 'name' not in rest:
    raise binding.BindingError(f'{where}: {rest!r} has no name')
  factory = binding.resolve(rest.pop('name'))
  try:
    inspect.signature(factory).bind(**rest)
  except TypeError as error:
    raise binding.BindingError(f'{where}: {value["name"]}: {error}') from None
  return factory(**rest)


def plain(value: Any) -> Any:
  """Nodes as dicts, whatever kind of mapping they are: a worker may not know that kind."""
  if hasattr(value, 'keys'):
    return {key: plain(value[key]) for key in value.keys()}
  return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def _check(label: str, function: Callable[..., Any], hyper: Mapping[str, Any]) -> None:
  try:
    signature = binding.signature(function)
  except (TypeError, ValueError):  # `calls.fields` says it
    return
  known = sorted({*signature.hyper, *signature.required})
  for name in hyper:
    if name not in known:
      raise binding.BindingError(
        f'{label}: unknown hyper-parameter {name!r}; it accepts {", ".join(known) or "none"}'
        f'{binding.near(name, known)}'
      )
  for name in signature.required:
    if name not in hyper and name not in calls.LEVELS[calls.level(function)]:
      raise binding.BindingError(f'{label}: hyper-parameter {name!r} has no default, is not given')


def _nested(value: Any, where: str, label: str) -> Any:
  if hasattr(value, 'keys') and 'name' not in value:
    if not value:
      raise binding.BindingError(f'{where}: no rewards')
    return {key: _nested(value[key], f'{where}.{key}', str(key)) for key in value.keys()}
  hyper, function = {}, value
  if hasattr(value, 'keys'):
    hyper = {key: plain(value[key]) for key in value.keys() if key != 'name'}
    function = value['name']
  try:
    function = binding.resolve(function) if isinstance(function, str) else function
  except binding.BindingError as error:
    raise binding.BindingError(f'{where}: {error}') from None
  if not callable(function):
    raise binding.BindingError(
      f'{where}: {value!r} is no reward: a dotted name, a function or dict(name=…, …)'
    )
  try:
    return Nested(label, with_hyper(function, hyper))
  except binding.BindingError as error:
    raise binding.BindingError(f'{where}: {error}') from None


def _walk(tree: Any, change: Callable[[Any], Any]) -> Any:
  if isinstance(tree, Mapping):
    return {key: _walk(value, change) for key, value in tree.items()}
  return change(tree)


def _read_one(returned: Any) -> list[calls.Outcome]:
  return [calls.read(returned)]


def _sample(given: Mapping[str, Any], place: int) -> dict[str, Any]:
  return {name: given[many][place] for name, many in zip(calls.FIELDS, calls.GROUP_FIELDS)}


def _value(label: str, outcome: calls.Outcome) -> dict[str, float]:
  if outcome.message:
    raise RewardError(f'{label}: {outcome.message}')
  return {'reward': outcome.reward, **outcome.components}
