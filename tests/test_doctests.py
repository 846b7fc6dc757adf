"""Every public function has an example that runs; one test for the functions of a package."""

import doctest
import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.docs import public_api

FUNCTIONS = [entry for entry in public_api.public() if entry.kind == 'function']
NUMBER = re.compile(r'-?\d+\.\d*(?:e[-+]?\d+)?|nan')
# Functions whose example cannot stand by itself, and why.
WITHOUT = {
  'scanned.place': 'takes a batch, which `data.packing` makes of a rollout',
  'scanned.scanned_run': 'takes a stage of a run',
  'scanned.why_not': 'takes a stage of a run',
  'stages.make_stage': "takes a run's World, which `train` assembles",
}
# Packages whose examples compile more than a second's worth of programs.
LONG = {
  *('advantages', 'losses', 'losses.preference', 'masking', 'models', 'regularizers', 'sampling'),
  *('selection', 'shaping'),
}


class Checker(doctest.OutputChecker):
  """Output as it is written, numbers with a fraction to the four digits that are shown."""

  def check_output(self, want, got, optionflags):
    if super().check_output(want, got, optionflags):
      return True
    numbers = [np.array(NUMBER.findall(text), float) for text in (want, got)]
    words = [' '.join(NUMBER.sub(' # ', text).split()) for text in (want, got)]
    if words[0].replace(' ', '') != words[1].replace(' ', '') or len(numbers[0]) != len(numbers[1]):
      return False
    return np.allclose(*numbers, rtol=1e-3, atol=2e-4, equal_nan=True)


def names():
  """What an example finds: jax, arrays, and the packages by their names."""
  packages = [p for p in public_api.packages() if '.' not in p]
  modules = {name: importlib.import_module(f'rljax.{name}') for name in packages}
  return {'jax': jax, 'jnp': jnp, 'np': np, **modules}


def test_every_public_function_has_an_example():
  without = {
    entry.name
    for entry in FUNCTIONS
    if '>>>' not in (getattr(*_place(entry)).__doc__ or '')
  }
  assert without == set(WITHOUT)


@pytest.mark.parametrize(
  'package',
  [
    pytest.param(package, marks=[pytest.mark.thorough] if package in LONG else [])
    for package in sorted({entry.package for entry in FUNCTIONS})
  ],
)
def test_examples_run(package, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  runner = doctest.DocTestRunner(Checker(), verbose=False)
  finder, said = doctest.DocTestFinder(recurse=False), []
  with np.printoptions(precision=4, suppress=True):
    for entry in FUNCTIONS:
      if entry.package == package:
        function = getattr(*_place(entry))
        for test in finder.find(function, entry.name, module=False, globs=names()):
          runner.run(test, out=said.append)
  assert not runner.failures, ''.join(said)


def test_a_wrong_example_fails():
  check = Checker().check_output
  assert check('[0.3333 nan]\n', '[0.33333334 nan]\n', 0)
  assert not check('[0.3333]\n', '[0.3343]\n', 0) and not check('[0.5]\n', '[0.5 0.5]\n', 0)
  assert not check('[ True False]\n', '[False False]\n', 0) and not check('3\n', '4\n', 0)


def _place(entry):
  module, _, name = entry.path.rpartition('.')
  return importlib.import_module(module), name
