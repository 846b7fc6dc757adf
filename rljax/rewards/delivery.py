"""How a reward travels to a worker: by name where the worker can import it, else by value."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rljax import binding
from rljax.rewards import calls, nesting
from rljax.rewards.nesting import Reward


def resolve(
  reward: Reward, *, by_value: bool = True
) -> tuple[Callable[..., Any], tuple[str, Any, dict[str, Any]]]:
  """The function of a reward and the message that makes a worker find it.

  Args:
    reward: a dotted name, a function, or a config node `dict(name=…, <hyper-parameters>)`.
    by_value: whether there is a worker that a function must travel to.

  Returns:
    (function, ('name' | 'module' | 'pickle' | 'here', what, hyper-parameters)).

  Raises:
    BindingError: there is no such function, or it takes what does not exist.
  """
  hyper: dict[str, Any] = {}
  if hasattr(reward, 'keys'):  # a dict, or a node of a config
    hyper = {k: nesting.plain(v) for k, v in reward.items() if k != 'name'}
    reward = reward['name']
  if isinstance(reward, str):
    function = binding.resolve(reward)
    # A worker has a __main__ of its own: what a script or a notebook defines travels by value.
    travels = by_value and reward.startswith('__main__.')
    how = (*_locate(function), hyper) if travels else ('name', reward, hyper)
  else:
    function = reward
    if not callable(function):
      raise binding.BindingError(f'reward {reward!r} is neither a dotted name nor a function')
    how = (*_locate(function), hyper) if by_value else ('here', None, hyper)
  if not callable(function):
    raise binding.BindingError(f'reward {reward} is no function')
  function = nesting.with_hyper(function, hyper)
  calls.fields(function)
  return function, how


def _locate(function: Callable[..., Any]) -> tuple[str, Any]:
  module, qualified = getattr(function, '__module__', None), getattr(function, '__qualname__', '')
  if module and qualified and _can_import(module):
    try:
      if functools.reduce(getattr, qualified.split('.'), sys.modules[module]) is function:
        return 'module', (module, qualified)
    except AttributeError:  # a lambda, or local to a function
      pass
  return 'pickle', by_value(function)


def _can_import(module: str) -> bool:
  """Whether another interpreter with this `sys.path` finds the module that is loaded here."""
  loaded = sys.modules.get(module)
  file = getattr(loaded, '__file__', None)
  if module == '__main__' or loaded is None or getattr(loaded, '__spec__', None) is None:
    return False
  top = module.partition('.')[0]
  for finder in sys.meta_path:
    found = getattr(finder, 'find_spec', lambda *_: None)(top, None)
    if found is not None:
      single = '.' not in module and file is not None and found.origin is not None
      return not single or os.path.realpath(found.origin) == os.path.realpath(file)
  return False


def by_value(value: Any) -> bytes:
  """A function, or hyper-parameters with functions in them, with all that a worker cannot import.

  Raises:
    BindingError: it cannot be sent.
  """
  import cloudpickle

  modules = {getattr(function, '__module__', None) for function in _functions(value)}
  whole = [
    sys.modules[m] for m in modules if m in sys.modules and m != '__main__' and not _can_import(m)
  ]
  for module in whole:
    cloudpickle.register_pickle_by_value(module)
  try:
    return cloudpickle.dumps(value)
  except Exception as error:
    raise binding.BindingError(
      f'the reward cannot be sent to a worker process: {error}; put it into a module, or set '
      'workers=0'
    ) from error
  finally:
    for module in whole:
      cloudpickle.unregister_pickle_by_value(module)


def _functions(value: Any) -> Iterator[Callable[..., Any]]:
  if isinstance(value, Mapping):
    value = list(value.values())
  if isinstance(value, list | tuple):
    for one in value:
      yield from _functions(one)
  elif callable(value):
    yield value
