"""Losses with a clipped ratio: golden values, edges, identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import losses


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
