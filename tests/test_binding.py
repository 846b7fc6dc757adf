"""Names → functions: what is accepted, what is refused and with which words."""

import sys
import types

import jax
import jax.numpy as jnp
import pytest

from rljax import binding, losses
from rljax.binding import BindingError, bind, fill, resolve, signature

ARRAYS = ('logprobs', 'old_logprobs', 'advantages', 'entropy')
SURROGATE = 'losses.clipped_surrogate'


@pytest.fixture
def paper(monkeypatch):
  """A user's module, importable by its own name."""
  module = types.ModuleType('my_paper')

  def loss(logprobs, advantages=None, *, slope: float = 1, name_of='x', bound=None, need, key):
    return logprobs, advantages, (slope, name_of, bound, need, key)

  module.loss = loss
  monkeypatch.setitem(sys.modules, 'my_paper', module)
  return module


def test_resolve_looks_under_rljax_first_and_then_anywhere(paper):
  assert resolve(SURROGATE) is losses.clipped_surrogate
  assert resolve('rljax.losses.nll') is losses.nll
  assert resolve('my_paper.loss') is paper.loss


@pytest.mark.parametrize(
  'name, words',
  [
    ('losses.clipped_surogate', "rljax.losses has no 'clipped_surogate'; did you mean clipped_su"),
    ('lossess.nll', 'there is no module rljax.lossess and no module lossess'),
    ('nll', "'nll' is no dotted name"),
    (3, '3 is no dotted name'),
  ],
)
def test_resolve_says_what_is_missing(name, words):
  with pytest.raises(BindingError, match=words):
    resolve(name)


def test_a_module_that_fails_to_import_is_not_called_missing(tmp_path, monkeypatch):
  (tmp_path / 'broken_paper.py').write_text('import a_library_that_is_not_there\n')
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(ModuleNotFoundError, match='a_library_that_is_not_there'):
    resolve('broken_paper.loss')


def test_signature(paper):
  found = signature(paper.loss)
  assert found.arrays == ('logprobs',) and found.optional == ('advantages',)
  assert found.hyper == {'slope': 1, 'name_of': 'x', 'bound': None}
  assert found.required == ('need',) and found.reserved == ('key',)


def test_bind_separates_static_from_traced(paper):
  bound = bind({'name': 'my_paper.loss', 'need': 0.5, 'slope': 2}, ARRAYS)
  assert bound.scheduled == {'need': 0.5} and bound.reserved == ('key',)
  assert bound.static == {'slope': 2, 'name_of': 'x', 'bound': None}
  # Where the default is a float a whole number is traced too; None switches off and is static.
  bound = bind({'name': SURROGATE, 'clip_low': 1})
  assert bound.scheduled == {'clip_low': 1, 'clip_high': 0.2}
  assert bound.static == {'dual_clip': None}
  assert bound.hyper(0) == {'clip_low': 1.0, 'clip_high': 0.2}
  assert 'dual_clip' in bind({'name': SURROGATE, 'dual_clip': 3.0}).scheduled


def test_bind_refuses_what_does_not_exist(paper):
  with pytest.raises(BindingError) as error:
    bind({'name': SURROGATE, 'clip_hgih': 0.3}, ARRAYS)
  assert str(error.value) == (
    "clipped_surrogate: unknown hyper-parameter 'clip_hgih'; "
    'it accepts clip_high, clip_low, dual_clip'
  )
  with pytest.raises(BindingError, match="takes the array 'advantages', which does not exist here"):
    bind({'name': SURROGATE}, ARRAYS[:2])
  with pytest.raises(BindingError, match="'need' has no default and is not given"):
    bind({'name': 'my_paper.loss'}, ARRAYS)
  with pytest.raises(BindingError, match="unknown hyper-parameter 'clip'; it accepts none"):
    bind({'name': 'losses.nll', 'clip': 1}, ARRAYS)


def test_bound_calls_by_name(paper):
  bound = bind({'name': 'my_paper.loss', 'need': 0.5}, ARRAYS)
  assert bound({'logprobs': 1, 'entropy': 2}, key='k') == (1, None, (1, 'x', None, 0.5, 'k'))
  logprobs, advantages, seen = bound({'logprobs': 1, 'advantages': 3}, {'need': 7.0}, key='k')
  assert (logprobs, advantages, seen[3]) == (1, 3, 7.0)


def test_scheduled_hyper_parameters_compile_once():
  low = {'schedule': 'linear', 'start': 0.4, 'end': 0.2, 'steps': 2}
  bound = bind({'name': SURROGATE, 'clip_low': low}, ARRAYS)
  arrays = {n: jnp.ones(3) for n in ARRAYS}
  run = jax.jit(lambda arrays, hyper: bound(arrays, hyper)[0])
  for step in range(4):
    run(arrays, bound.hyper(step))
  assert run._cache_size() == 1
  assert [bound.hyper(step)['clip_low'] for step in range(4)] == pytest.approx([0.4, 0.3, 0.2, 0.2])


def test_schedules():
  cosine = {'schedule': 'cosine', 'start': 1.0, 'end': 0.0, 'steps': 4}
  assert [binding.value_at(cosine, s) for s in (0, 2, 4, 9)] == pytest.approx([1, 0.5, 0, 0])
  assert binding.value_at(0.3, 5) == 0.3
  with pytest.raises(BindingError, match="schedule 'stairs'"):
    binding.value_at({**cosine, 'schedule': 'stairs'}, 1)


def test_fill_completes_a_node_from_the_signature():
  node, left = fill({'name': SURROGATE, 'clip_high': 0.28, 'kl_target': 1})
  assert node == {'name': SURROGATE, 'clip_low': 0.2, 'clip_high': 0.28, 'dual_clip': None}
  assert left == ['kl_target']
