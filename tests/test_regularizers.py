"""Estimators, bounds, limits and controllers; what gradients do in expectation is in
test_enumeration.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import estimators
from reference import regularizers as reference

from rljax import regularizers
from rljax.binding import bind

D = np.array([-1.3, -0.3, -1e-4, 0.0, 1e-4, 0.3, 1.3])


@pytest.mark.parametrize('name', list(estimators.ESTIMATORS))
def test_estimators_are_those_of_the_formula(name):
  case = estimators.ESTIMATORS[name]
  with jax.enable_x64(True):
    value = case.function(jnp.asarray(D))
    slope = jax.grad(lambda d: jnp.sum(case.function(d)))(jnp.asarray(D))
  expected = np.array([case.reference(d) for d in D])
  if name == 'absolute':
    expected[3, 1] = 0  # and not a side's, where the policies agree
  np.testing.assert_allclose(value, expected[:, 0], atol=1e-12)
  np.testing.assert_allclose(slope, expected[:, 1], atol=1e-12)


def test_golden_values_of_the_estimators():
  for d, k3 in ((0.3, 0.0408182), (-0.3, 0.0498588)):
    assert regularizers.k1(jnp.array(d)) == d
    assert regularizers.k2(jnp.array(d)) == pytest.approx(0.045)
    assert regularizers.k3(jnp.array(d)) == pytest.approx(k3, abs=1e-7)


def test_far_from_the_reference_the_value_is_bounded_and_the_gradient_is_not():
  l, ref = jnp.array([-30.0, -0.1]), jnp.array([-0.1, -60.0])
  value, seen = regularizers.reverse_kl(l, ref, l)
  gradient = jax.grad(lambda x: jnp.sum(regularizers.reverse_kl(x, ref, l)[0]))(l)
  np.testing.assert_allclose(value, [10, 10])
  np.testing.assert_allclose(gradient, [-29.9, 59.9])
  assert np.all(np.isfinite(seen['kl_ref']))


def test_unknown_names_and_missing_arrays_are_errors():
  l = jnp.zeros(2)
  with pytest.raises(ValueError, match='needs policy_logprobs'):
    regularizers.reverse_kl(l, l, l, mismatch_correction=True)
  with pytest.raises(ValueError, match="kind 'renyi'"):
    regularizers.f_divergence(l, l, l, kind='renyi')
  with pytest.raises(ValueError, match="value 'k4'"):
    regularizers.k2_in_loss(l, l, value='k4')
  with pytest.raises(ValueError, match="estimator 'k2'"):
    regularizers.sequence_kl(l, l, l, l > 0, jnp.zeros(2, jnp.int32), estimator='k2')


# -- f-divergences ---------------------------------------------------------------------------------


def value_and_slope(d, kind, alpha=0.5):
  """f(u)/u and f'(u) at e^d, on-policy and without bounds."""

  def value(l):
    bounds = {'max_ratio': 1e9, 'max_value': 1e9}
    return regularizers.f_divergence(
      l, jnp.zeros_like(l), jax.lax.stop_gradient(l), kind=kind, alpha=alpha, **bounds
    )[0]

  d = jnp.asarray(d)
  return np.asarray(value(d)), np.asarray(jax.grad(lambda l: jnp.sum(value(l)))(d))


KINDS = (*reference.DIVERGENCES, 'alpha')


@pytest.mark.parametrize('kind', KINDS)
def test_divergences_are_zero_where_the_policies_agree_and_never_below(kind):
  value, slope = value_and_slope(np.array([0.0]), kind)
  assert value == 0 and slope == 0
  d = np.linspace(-12, 12, 4001).astype(np.float32)
  value, slope = value_and_slope(d, kind)
  assert np.all(value >= 0) and np.all(np.isfinite(value))
  assert np.all(np.sign(slope[np.abs(d) > 0.01]) == np.sign(d[np.abs(d) > 0.01]))


def test_alpha_joins_the_other_divergences():
  with jax.enable_x64(True):
    for alpha, kind, factor in (
      (1.0, 'reverse_kl', 1),
      (1 + 1e-9, 'reverse_kl', 1),
      (0.0, 'forward_kl', 1),
      (2.0, 'chi_squared', 0.5),
    ):
      for found, expected in zip(
        value_and_slope(D, 'alpha', alpha), value_and_slope(D, kind), strict=True
      ):
        np.testing.assert_allclose(found, factor * expected, atol=1e-8, err_msg=f'{alpha}')
    near = [value_and_slope(D, 'alpha', a)[0] for a in (-0.00101, -0.00099, 0.00099, 0.00101)]
    np.testing.assert_allclose(near, np.broadcast_to(near[1], (4, 7)), atol=3e-3)


def test_kinds_that_are_other_regularizers():
  rng = np.random.default_rng(0)
  l, ref, old = (jnp.asarray(x) for x in -rng.random((3, 20)))

  def slope(function, *others):
    return jax.grad(lambda x: jnp.sum(function(x, ref, *others)[0]))(l)

  divergence = regularizers.f_divergence
  compare = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
  reverse = functools.partial(divergence, kind='reverse_kl')
  compare(slope(reverse, old), slope(regularizers.reverse_kl, old))
  compare(reverse(l, ref, l)[0], regularizers.reverse_kl(l, ref, l)[0])
  forward = functools.partial(divergence, kind='forward_kl')
  compare(slope(forward, l), slope(regularizers.forward_k3))
  variation = functools.partial(divergence, kind='total_variation')
  compare(2 * slope(variation, l), slope(regularizers.absolute_in_loss))


# -- metrics and controllers -----------------------------------------------------------------------


def test_importance_entropy_is_that_of_the_formula():
  rng = np.random.default_rng(0)
  l, old = -3 * rng.random((2, 10))
  with jax.enable_x64(True):
    value = regularizers.importance_entropy(jnp.asarray(l), jnp.asarray(old))
    slopes = jax.grad(
      lambda l, old: jnp.sum(regularizers.importance_entropy(l, old)), argnums=(0, 1)
    )(jnp.asarray(l), jnp.asarray(old))
  expected = np.array([reference.importance_entropy(*x) for x in zip(l, old, strict=True)])
  np.testing.assert_allclose(value, expected[:, 0], atol=1e-12)
  np.testing.assert_allclose(slopes[0], expected[:, 1], atol=1e-12)
  assert not np.any(slopes[1])
  assert regularizers.importance_entropy(*jnp.zeros((2, 3), jnp.bfloat16)).dtype == jnp.float32


def follow(controller, measurements, **hyper):
  """[(coefficient, state), …] of a controller that is bound as in a config."""
  bound = bind({'name': f'regularizers.{controller}', **hyper})
  state, found = bound.first_state(), []
  step = jax.jit(lambda m, h, s: bound({'measured': m, 'num_samples': 512}, h, state=s))
  for measured in measurements:
    coefficient, state = step(jnp.float32(measured), bound.hyper(0), state)
    assert state.dtype == jnp.float32
    found.append((float(coefficient), float(state)))
  return found


def test_adaptive_kl_is_the_recursion():
  beta = 0.05
  measurements = [0.5, 0.5, 0.11, 0.1, 0.09, 0.0, np.nan, np.inf, 0.2]
  for measured, (coefficient, state) in zip(
    measurements, follow('adaptive_kl', measurements, coefficient=beta), strict=True
  ):
    if np.isfinite(measured):
      beta = reference.adaptive_kl(measured, 512, beta)
    assert coefficient == state == pytest.approx(beta, rel=1e-5)
  # Ten times as many samples, or a tenth of the horizon: the same.
  assert follow('adaptive_kl', [0.5], coefficient=1.0, horizon=1000.0)[0][0] == pytest.approx(
    1 + 0.2 * 512 / 1000
  )


def test_adaptive_kl_holds_a_kl_that_answers_to_it():
  beta, kl, state = 0.01, None, regularizers.adaptive_kl_init(coefficient=0.01)
  for _ in range(400):
    kl = 0.004 / beta  # a policy that obeys at once
    beta, state = regularizers.adaptive_kl(kl, 1000, coefficient=0.01, target=0.08, state=state)
  assert kl == pytest.approx(0.08, rel=0.01)


def test_adaptive_entropy_is_the_rule():
  c = 0.003
  measurements = [0.1, 0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.19, np.nan]
  found = follow('adaptive_entropy', measurements, coefficient=c, high=0.01)
  for measured, (coefficient, state) in zip(measurements, found, strict=True):
    if np.isfinite(measured):
      acts, c = reference.adaptive_entropy(measured, c, high=0.01)
    else:
      acts = c
    assert coefficient == pytest.approx(acts, abs=1e-7)
    assert state == pytest.approx(c, abs=1e-7)
  assert [acts > 0 for acts, _ in found] == [True] * 3 + [False] * 4 + [True] * 2


def test_controllers_map_over_their_hyper_parameters():
  def run(target):
    state = regularizers.adaptive_kl_init(coefficient=0.1)
    return regularizers.adaptive_kl(0.1, 5000, coefficient=0.1, target=target, state=state)[0]

  found = jax.jit(jax.vmap(run))(jnp.array([0.05, 0.1, 0.2]))
  np.testing.assert_allclose(found, [0.11, 0.1, 0.09], rtol=1e-6)


def test_the_reference_follows_the_policy():
  policy = {'a': jnp.array([1.0, 2.0]), 'b': [jnp.full(3, 4.0, jnp.bfloat16)], 'n': jnp.array(7)}
  reference = {'a': jnp.zeros(2), 'b': [jnp.zeros(3, jnp.bfloat16)], 'n': jnp.array(1)}
  mixed = regularizers.reference_average(policy, reference)
  np.testing.assert_allclose(mixed['a'], [0.6, 1.2], rtol=1e-6)
  assert mixed['b'][0].dtype == jnp.bfloat16 and mixed['n'] == 7
  refreshed = regularizers.reference_average(policy, reference, rate=1.0)
  jax.tree.map(np.testing.assert_array_equal, refreshed, policy)
  # n steps of rate r leave (1 − r)^n of the first reference.
  average = jax.jit(regularizers.reference_average)
  found = {'a': jnp.zeros(2)}
  for _ in range(5):
    found = average({'a': policy['a']}, found, rate=0.1)
  np.testing.assert_allclose(found['a'], (1 - 0.9**5) * policy['a'], rtol=1e-6)


def test_the_average_has_no_gradient():
  def total(policy):
    return jnp.sum(regularizers.reference_average(policy, jnp.zeros(2)))

  assert not np.any(jax.grad(total)(jnp.ones(2)))
