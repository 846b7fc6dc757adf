"""How a reward travels to a worker: by name where the worker can import it, else by value."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rljax import binding
from rljax.rewards import calls

Reward = str | Callable[..., Any] | Mapping[str, Any]


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
  if isinstance(reward, Mapping):
    hyper = {k: v for k, v in reward.items() if k != 'name'}
    reward = reward['name']
  if isinstance(reward, str):
    function = binding.resolve(reward)
    how = ('name', reward, hyper)
  else:
    function = reward
    if not callable(function):
      raise binding.BindingError(f'reward {reward!r} is neither a dotted name nor a function')
    how = (*_locate(function), hyper) if by_value else ('here', None, hyper)
  if not callable(function):
    raise binding.BindingError(f'reward {reward} is no function')
  _check_hyper(reward, function, hyper)
  function = calls.with_hyper(function, hyper)
  calls.fields(function)
  return function, how


def _check_hyper(reward: Any, function: Callable[..., Any], hyper: Mapping[str, Any]) -> None:
  if not hyper:
    return
  signature = binding.signature(function)
  known = sorted({*signature.hyper, *signature.required})
  for name in hyper:
    if name not in known:
      raise binding.BindingError(
        f'{reward}: unknown hyper-parameter {name!r}; it accepts {", ".join(known) or "none"}'
      )


def _locate(function: Callable[..., Any]) -> tuple[str, Any]:
  module, qualified = getattr(function, '__module__', None), getattr(function, '__qualname__', '')
  if module and qualified and _can_import(module):
    try:
      if functools.reduce(getattr, qualified.split('.'), sys.modules[module]) is function:
        return 'module', (module, qualified)
    except AttributeError:  # a lambda, or local to a function
      pass
  return 'pickle', _by_value(function, module)


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


def _by_value(function: Callable[..., Any], module: str | None) -> bytes:
  import cloudpickle

  loaded = sys.modules.get(module or '')
  whole = loaded is not None and module != '__main__' and not _can_import(module)
  if whole:
    cloudpickle.register_pickle_by_value(loaded)
  try:
    return cloudpickle.dumps(function)
  except Exception as error:
    raise binding.BindingError(
      f'the reward cannot be sent to a worker process: {error}; put it into a module, or set '
      'workers=0'
    ) from error
  finally:
    if whole:
      cloudpickle.unregister_pickle_by_value(loaded)
