"""Filters against slow loops, their ties, and their ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import filters

ROWS, VOCAB = 64, 23


def softmax(x):
  weights = np.exp(x - x.max())
  return weights / weights.sum()


def reference(logits, *, top_k=None, top_p=None, min_p=None):
  """bool [V], what is kept of one row; double loops in float64, and the boundary's clearance."""
  x = np.array(logits, np.float64)
  clearance = np.inf
  if top_k is not None and top_k > 0:
    kept = [sum(other > mine for other in x) < top_k for mine in x]
    x = np.where(kept, x, -np.inf)
  if top_p is not None and top_p < 1:
    probs, kept = softmax(x), []
    for mine in x:
      above = sum(p for p, other in zip(probs, x) if other > mine)
      kept.append(above < top_p or mine == x.max())
      if above > 0:
        clearance = min(clearance, abs(above - top_p))
    x = np.where(kept, x, -np.inf)
  if min_p is not None and min_p > 0:
    ratio = np.exp(x - x.max())
    kept = ratio >= min_p
    clearance = min(clearance, np.min(np.abs(ratio[ratio < 1] - min_p), initial=np.inf))
    x = np.where(kept, x, -np.inf)
  return np.isfinite(x), clearance


def draw_case(seed, ties):
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(ROWS, VOCAB)) * rng.choice([0.1, 1, 5], size=(ROWS, 1))
  if ties:
    logits = np.round(logits * 2) / 2
  return dict(
    logits=logits.astype(np.float32),
    top_k=rng.choice([0, 1, 2, 5, VOCAB - 1, VOCAB, 10 * VOCAB], size=ROWS).astype(np.int32),
    top_p=rng.choice([0.0, 0.05, 0.3, 0.77, 0.95, 1.0], size=ROWS).astype(np.float32),
    min_p=rng.choice([0.0, 0.01, 0.2, 0.9, 1.0], size=ROWS).astype(np.float32),
  )


@pytest.mark.parametrize('use', [('top_k',), ('top_p',), ('min_p',), filters.FILTERS])
def test_filters_keep_what_slow_loops_keep(use):
  function = jax.jit(lambda case: filters.apply_filters(**case, filters=use))
  compared = 0
  for seed in range(6):
    case = draw_case(seed, ties=seed % 2 == 1)
    out = np.asarray(function(case))
    for i in range(ROWS):
      values = {name: float(case[name][i]) for name in use}
      kept, clearance = reference(case['logits'][i], **values)
      left = np.isfinite(out[i])
      assert left.any()
      np.testing.assert_array_equal(out[i][left], case['logits'][i][left])
      if clearance > 1e-6:  # nearer than that, float32 may fall on the other side
        np.testing.assert_array_equal(left, kept)
        compared += 1
  assert compared > 0.9 * 6 * ROWS


def test_ties_are_kept_together_in_any_order_of_the_vocabulary():
  logits = jnp.array([[1.0, 2.0, 2.0, 2.0, 0.0]])
  assert np.isfinite(filters.top_k(logits, jnp.array([2]))).tolist() == [
    [False, True, True, True, False]
  ]
  assert np.isfinite(filters.top_p(logits, jnp.array([0.1]))).sum() == 3
  zeros = jnp.array([[0.0, -0.0, -1.0]])
  assert np.isfinite(filters.top_k(zeros, jnp.array([1]))).tolist() == [[True, True, False]]
  case = draw_case(3, ties=True)
  order = np.random.default_rng(0).permutation(VOCAB)
  kept = np.isfinite(filters.apply_filters(**case))
  case['logits'] = case['logits'][:, order]
  np.testing.assert_array_equal(np.isfinite(filters.apply_filters(**case)), kept[:, order])


def test_values_that_switch_a_filter_off_change_no_bit():
  logits = jax.random.normal(jax.random.key(0), (3, 200)) * 30  # mass beyond float32's resolution
  out = filters.apply_filters(
    logits,
    top_k=jnp.array([0, 200, 5000]),
    top_p=jnp.array([1.0, 1.0, 1.5]),
    min_p=jnp.zeros(3),
  )
  np.testing.assert_array_equal(out, logits)


def test_the_strongest_values_leave_the_best_token():
  logits = jax.random.normal(jax.random.key(1), (4, 50))
  best = np.asarray(logits) == np.max(logits, axis=1, keepdims=True)
  for kept in (
    filters.top_k(logits, jnp.ones(4, jnp.int32)),
    filters.top_p(logits, jnp.zeros(4)),
    filters.min_p(logits, jnp.ones(4)),
  ):
    np.testing.assert_array_equal(np.isfinite(kept), best)


def test_dropped_and_infinite_logits_stay_dropped():
  logits = jnp.array([[-jnp.inf, 1.0, -jnp.inf, 0.0]])
  for top_k, top_p in ((3, 1.0), (0, 0.999)):
    out = filters.apply_filters(
      logits, top_k=jnp.array([top_k]), top_p=jnp.array([top_p]), min_p=jnp.zeros(1)
    )
    np.testing.assert_array_equal(out, logits)


def test_only_named_filters_are_computed_and_unknown_ones_refused():
  program = jax.make_jaxpr(
    lambda x: filters.apply_filters(x, top_k=None, top_p=None, min_p=None, filters=())
  )(jnp.ones((2, 3)))
  assert not program.eqns
  with pytest.raises(ValueError, match="unknown filter 'top_q'; there are top_k, top_p, min_p"):
    filters.apply_filters(jnp.ones(3), top_k=0, top_p=1, min_p=0, filters=('top_q',))


def test_leading_dimensions_and_float64():
  with jax.enable_x64(True):
    logits = jax.random.normal(jax.random.key(2), (2, 3, 40), jnp.float64)
    near = logits.at[..., 0].set(logits[..., 1] + 1e-12)  # a difference that float32 would lose
    out = filters.top_k(near, jnp.sum(near >= near[..., :1], axis=-1))
    assert out.dtype == jnp.float64
    assert np.isfinite(out[..., 0]).all() and not np.isfinite(out[..., 1]).any()
