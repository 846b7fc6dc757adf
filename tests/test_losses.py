"""Token losses and regularizers: one line of CASES holds a function to everything that it says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import policy_losses, supervised, values
from cases import regularizers as regularizer_cases
from reference import batches

from rljax import losses, masking, regularizers
from rljax.binding import signature

BATCH = batches.packed(1)
# The argument that a loss is differentiated by: the first of these that it takes.
DIFFERENTIATED = ('logprobs', 'new_values', 'entropy', 'full_kl')


CASES = {**policy_losses.CASES, **values.CASES, **supervised.CASES, **regularizer_cases.CASES}
ESTIMATORS = {'k1', 'k2', 'k3'}  # functions of d, not losses

each_case = pytest.mark.parametrize('case', list(CASES.values()), ids=list(CASES))


def arrays_of(case, batch=BATCH):
  return {name: jnp.asarray(batch[name]) for name in signature(case.function).arrays}


def run(case, arrays, hyper=None):
  ordered = [arrays[name] for name in signature(case.function).arrays]
  return case.function(*ordered, **(case.hyper if hyper is None else hyper))


def differentiated(case):
  return next((n for n in DIFFERENTIATED if n in signature(case.function).arrays), None)


def total(case, arrays, weights):
  mask = weights != 0
  return masking.weighted_sum(run(case, masking.shield(arrays, mask))[0], weights)


def test_every_loss_has_a_case():
  public = {*losses.__all__, *regularizers.__all__} - ESTIMATORS
  assert public == {case.function.__name__ for case in CASES.values()}
  assert all(hasattr(case.function, 'declared') for case in CASES.values())


@each_case
def test_values_and_gradients_are_those_of_the_formula(case):
  with jax.enable_x64(True):
    arrays = arrays_of(case)
    loss, diagnostics = run(case, arrays)
    gradient = jax.grad(lambda a: jnp.sum(run(case, a)[0]))(arrays)
  shape = BATCH['action_mask'].shape
  assert loss.shape == shape and loss.dtype == jnp.float64
  assert all(x.shape == shape for x in diagnostics.values())
  own = differentiated(case)
  numbers = {name: BATCH[name] for name in arrays}
  loss, gradient = jax.tree.map(np.asarray, (loss, gradient))
  for index in np.ndindex(*shape):
    value, slope = case.reference(**{n: x[index] for n, x in numbers.items()})
    assert loss[index] == pytest.approx(value, abs=1e-12)
    if own:
      assert gradient[own][index] == pytest.approx(slope, abs=1e-12)
  for name, value in gradient.items():
    assert name == own or not np.any(value), f'{name} is a constant'


@each_case
def test_masked_entries_have_no_influence(case):
  arrays = {n: x.astype(jnp.float32) for n, x in arrays_of(case).items()}
  mask = BATCH['action_mask']
  weights = jnp.asarray(mask / mask.sum(), jnp.float32)
  step = jax.jit(jax.value_and_grad(functools.partial(total, case)))
  expected = step(arrays, weights)
  for filler in (np.nan, np.inf, 1e30):
    found = step({n: jnp.where(mask, x, filler) for n, x in arrays.items()}, weights)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
  for gradient in expected[1].values():
    assert not np.any(np.asarray(gradient)[~mask])


@each_case
def test_token_losses_couple_nothing_and_keep_the_order_of_rows(case):
  assert case.function.declared.couples == 'token'
  arrays = {n: x.astype(jnp.float32) for n, x in arrays_of(case).items()}
  loss = run(case, arrays)[0]
  turned = run(case, {n: x[:, ::-1] for n, x in arrays.items()})[0]
  np.testing.assert_array_equal(turned, loss[:, ::-1])
  moved = run(case, {n: x.at[0, 0, 1].add(0.25) for n, x in arrays.items()})[0]
  changed = np.argwhere(np.asarray(moved != loss))
  assert set(map(tuple, changed)) <= {(0, 0, 1)}


@each_case
def test_hyper_parameters_may_be_traced_and_mapped(case):
  hyper = signature(case.function).hyper | case.hyper
  hyper = {n: v for n, v in hyper.items() if isinstance(v, float)}
  if not hyper:
    return
  arrays = {n: x.astype(jnp.float32) for n, x in arrays_of(case).items()}
  expected = run(case, arrays, case.hyper | hyper)[0]
  two = {n: jnp.array([v, 2 * v], jnp.float32) for n, v in hyper.items()}
  found = jax.jit(jax.vmap(lambda h: run(case, arrays, h)[0]))(two)
  np.testing.assert_allclose(found[0], expected, rtol=1e-6, atol=1e-6)


@each_case
def test_on_policy_is_reinforce_where_declared(case):
  names = signature(case.function).arrays
  declared = 'on_policy_is_reinforce' in case.function.declared.traits
  if 'logprobs' not in names:
    assert not declared
    return
  arrays = arrays_of(case)
  if 'old_logprobs' in arrays:
    arrays['old_logprobs'] = arrays['logprobs']
  gradient = jax.grad(lambda a: jnp.sum(run(case, a)[0]))(arrays)['logprobs']
  holds = np.allclose(gradient, -BATCH['advantages'], atol=1e-6)
  assert holds == declared


@pytest.mark.parametrize('dual_clip', [None, 3.0])
def test_signs_of_the_gradient_of_the_clipped_surrogate(dual_clip):
  log_ratio = jnp.log(jnp.array([0.5, 0.8, 1.0, 1.2, 2.0, 4.0]))  # both edges of the band included
  for advantage in (-1.0, 0.0, 1.0):
    a = jnp.full(6, advantage)
    gradient = jax.grad(
      lambda l, a=a: jnp.sum(
        losses.clipped_surrogate(l, jnp.zeros(6), a, clip_low=0.2001, dual_clip=dual_clip)[0]
      )
    )(log_ratio)
    # A > 0 pushes up until the upper bound, A < 0 pushes down until the lower one.
    active = {-1.0: [0, 1, 1, 1, 1, dual_clip is None], 0.0: [0] * 6, 1.0: [1, 1, 1, 1, 0, 0]}
    np.testing.assert_array_equal(np.sign(gradient), -advantage * np.array(active[advantage]))


def test_an_edge_of_the_band_has_the_full_gradient():
  def loss(l, clip):
    return jnp.sum(losses.clipped_surrogate(l, jnp.zeros(1), jnp.ones(1), clip_high=clip)[0])

  assert jax.grad(loss)(jnp.zeros(1), 0.0) == -1.0


def test_golden_values_of_the_clipped_surrogate():
  # One token, band 0.2, dual clip 3.
  for log_ratio, advantage, plain, dual in (
    (0.5, -1.0, 1.648721, 1.648721),
    (1.5, -1.0, 4.481689, 3.0),
    (0.5, 1.0, -1.2, -1.2),
    (-0.5, -1.0, 0.8, 0.8),
    (-0.5, 1.0, -0.606531, -0.606531),
  ):
    arguments = (jnp.float32(log_ratio), jnp.float32(0), jnp.float32(advantage))
    assert losses.clipped_surrogate(*arguments)[0] == pytest.approx(plain, abs=1e-6)
    found, seen = losses.clipped_surrogate(*arguments, dual_clip=3.0)
    assert found == pytest.approx(dual, abs=1e-6)
    assert seen['ratio_max'] == pytest.approx(np.exp(log_ratio), rel=1e-6)


def test_diagnostics_of_the_clipped_surrogate():
  log_ratio = jnp.log(jnp.array([0.5, 1.0, 1.5, 4.0, 0.5, 1.5]))
  a = jnp.array([-1.0, -1.0, -1.0, -1.0, 1.0, 1.0])
  _, seen = losses.clipped_surrogate(log_ratio, jnp.zeros(6), a, dual_clip=3.0)
  np.testing.assert_array_equal(seen['clip_low'], [1, 0, 0, 0, 0, 0])
  np.testing.assert_array_equal(seen['clip_high'], [0, 0, 0, 1, 0, 1])
  assert np.all(np.asarray(seen['kl_old']) >= 0)


def test_extreme_ratios_stay_finite():
  l = jnp.array([0.0, -1e4, 0.0])
  old = jnp.array([-1e4, 0.0, -80.0])

  def loss(l):
    return jnp.sum(losses.clipped_surrogate(l, old, -jnp.ones(3))[0])

  value, gradient = jax.value_and_grad(loss)(l)
  assert np.isfinite(value) and np.all(np.isfinite(gradient))
