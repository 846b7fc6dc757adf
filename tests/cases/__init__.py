"""What the parametrised suites hold each function to: a function joins by one line in a CASES dict.

One file for each family; the suites (`test_losses.py`, `test_advantages.py`, …) gather them. A
module may also have `ARRAYS`, a dict of a method's own arrays: name -> function of (batch, rng);
`SUITE`, the file that holds its functions to account instead of the family's own; and `OTHERS`, the
public names that no suite is for.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest


@dataclasses.dataclass(frozen=True, eq=False)  # hashable: what suites compute is cached by case
class Case:
  """A function with hyper-parameters and its slow reference.

  Attributes:
    function: of rljax.
    reference: from the formula; the suite says with which arguments it is called.
    hyper: keyword arguments of the function.
    traits, couples: where `hyper` makes them differ from what is declared.
    optional: those of the function's optional arrays that it is called with.
  """

  function: Callable[..., Any]
  reference: Callable[..., Any]
  hyper: dict[str, Any] = dataclasses.field(default_factory=dict)
  traits: frozenset[str] | set[str] | None = None
  couples: str | None = None
  optional: tuple[str, ...] = ()


def gather(*packages):
  """Of functions in `packages`, from all modules here.

  Returns:
    (cases by name, without those of modules with a SUITE; names of all functions that have a case
    or are among OTHERS; own arrays)
  """
  here, named, own = {}, set(), {}
  for info in pkgutil.iter_modules(__path__):
    module = importlib.import_module(f'{__name__}.{info.name}')
    own |= getattr(module, 'ARRAYS', {})
    named |= getattr(module, 'OTHERS', set())
    for name, case in getattr(module, 'CASES', {}).items():
      home = case.function.__module__ if isinstance(case, Case) else ''
      if home.startswith(packages):
        named.add(case.function.__name__)
        if not hasattr(module, 'SUITE'):
          assert name not in here, f'two cases are called {name!r}'
          here[name] = case
  return here, named, own


def by_function(cases):
  """Parametrises a test by case; the default run takes the first case of each function.

  For what other hyper-parameters hardly change: values and gradients are always those of all cases.
  """
  seen, params = set(), []
  for name, case in cases.items():
    known = case.function in seen
    seen.add(case.function)
    params.append(pytest.param(case, marks=pytest.mark.thorough if known else [], id=name))
  return pytest.mark.parametrize('case', params)
