"""Masked and grouped reductions against loops; what the compiled programs hold."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import batches

from rljax import advantages, masking, weighting

# Ragged, in any order, with a singleton and unused places.
IDS = np.array([3, 0, 3, 1, 0, 3, -1, 1, 0, 7, 3, -1], np.int32)
X = np.random.default_rng(0).normal(size=12).astype(np.float32)
WHERE = np.random.default_rng(1).random(12) < 0.7
TOLERANCE = {'rtol': 1e-5, 'atol': 1e-6}


def statistic(name, values):
  if name == 'group_count':
    return len(values)
  if name == 'group_sum':
    return sum(values)
  if name == 'group_mean':
    return sum(values) / max(len(values), 1)
  if name == 'group_var':
    return np.var(values, ddof=1) if len(values) > 1 else 0
  if name == 'group_max':
    return max(values, default=-np.inf)
  if name == 'group_min':
    return min(values, default=np.inf)
  return not values or max(values) - min(values) <= 1e-6 * max(1, *map(abs, values))


STATISTICS = (
  'group_count',
  'group_sum',
  'group_mean',
  'group_var',
  'group_max',
  'group_min',
  'group_is_constant',
)


def run_group(name, x, ids, where):
  function = getattr(masking, name)
  return function(ids, where) if name == 'group_count' else function(x, ids, where)


@pytest.mark.parametrize('name', STATISTICS)
def test_group_statistics(name, monkeypatch):
  # All at once; five samples at a time, the last filled.
  for pairs in (masking.groups.PAIRS_AT_ONCE, 60):
    monkeypatch.setattr(masking.groups, 'PAIRS_AT_ONCE', pairs)
    for where in (None, WHERE):
      counted = (IDS >= 0) if where is None else where & (IDS >= 0)
      dirty = jnp.where(counted, X, np.nan)
      where = None if where is None else jnp.asarray(where)
      found = np.asarray(run_group(name, dirty, jnp.asarray(IDS), where))
      for i, group in enumerate(IDS):
        if group < 0:
          continue
        members = [float(X[j]) for j in range(12) if IDS[j] == group and counted[j]]
        np.testing.assert_allclose(found[i], statistic(name, members), **TOLERANCE)
        # Members of a group get the same bits.
        assert found[i] == found[int(np.argmax(IDS == group))]


def test_group_rank(monkeypatch):
  for pairs in (masking.groups.PAIRS_AT_ONCE, 60):
    monkeypatch.setattr(masking.groups, 'PAIRS_AT_ONCE', pairs)
    x = np.round(X)  # with ties
    found = masking.group_rank(jnp.asarray(x), jnp.asarray(IDS))
    for group in set(IDS[IDS >= 0]):
      members = np.flatnonzero(IDS == group)
      order = members[np.argsort(-x[members], kind='stable')]
      np.testing.assert_array_equal(found[order], np.arange(len(members)))


def test_gradient_of_a_group_mean(monkeypatch):
  ids = jnp.asarray(IDS)

  def loss(x):
    return jnp.sum(jnp.sin(masking.group_mean(x, ids)))

  whole = jax.grad(loss)(jnp.asarray(X))
  monkeypatch.setattr(masking.groups, 'PAIRS_AT_ONCE', 60)
  np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(X)), whole, **TOLERANCE)
  for i, group in enumerate(IDS):
    members = X[IDS == group]
    slope = 0 if group < 0 else np.cos(members.mean())
    np.testing.assert_allclose(whole[i], slope, **TOLERANCE)


def test_masked_reductions():
  rng = np.random.default_rng(2)
  x, mask = rng.normal(size=(3, 5)), rng.random((3, 5)) < 0.6
  mask[1] = False
  dirty, jmask = jnp.where(mask, x, np.nan), jnp.asarray(mask)
  kept = x[mask]
  assert masking.masked_sum(dirty, jmask) == pytest.approx(kept.sum(), abs=1e-5)
  assert masking.masked_mean(dirty, jmask) == pytest.approx(kept.mean(), abs=1e-5)
  assert masking.masked_var(dirty, jmask, ddof=1) == pytest.approx(kept.var(ddof=1), rel=1e-5)
  assert masking.masked_max(dirty, jmask) == pytest.approx(kept.max(), rel=1e-6)
  assert masking.masked_min(dirty, jmask) == pytest.approx(kept.min(), rel=1e-6)
  rows = masking.masked_mean(dirty, jmask, axis=1)
  assert rows[1] == 0 and rows[0] == pytest.approx(x[0][mask[0]].mean(), abs=1e-5)
  assert masking.masked_max(dirty, jmask, axis=1)[1] == 0
  assert not masking.is_constant(dirty, jmask)
  assert masking.is_constant(jnp.where(mask, 0.1, np.nan), jmask)
  gradient = jax.grad(lambda x: masking.masked_var(x, jmask))(dirty)
  assert np.all(np.isfinite(gradient)) and not np.any(np.asarray(gradient)[~mask])


def test_variance_is_two_pass():
  x = jnp.array([1000.0, 1000.01, 1000.02, 1000.01])
  assert masking.masked_var(x, jnp.ones(4, bool)) == pytest.approx(5e-5, rel=0.02)
  found = masking.group_var(x, jnp.zeros(4, jnp.int32), ddof=0)
  np.testing.assert_allclose(found, 5e-5, rtol=0.02)


def test_shield_and_weighted_sum_keep_nan_out():
  mask = jnp.array([[True, False]])
  weights = jnp.where(mask, 0.5, 0.0)

  def loss(arrays):
    clean = masking.shield(arrays, mask)
    return masking.weighted_sum(jnp.log(clean['x'] + 1) * clean['y'], weights)

  arrays = {'x': jnp.array([[1.0, np.nan]]), 'y': jnp.array([[2.0, np.inf]]), 'ids': mask * 3}
  assert masking.shield(arrays, mask)['ids'] is arrays['ids']
  del arrays['ids']
  value, gradient = jax.value_and_grad(loss)(arrays)
  assert value == pytest.approx(np.log(2))
  np.testing.assert_allclose(gradient['x'], [[0.5, 0]])
  np.testing.assert_allclose(gradient['y'], [[0.5 * np.log(2), 0]], rtol=1e-6)
  assert masking.weighted_sum(jnp.array([1.0, np.nan]), jnp.array([2.0, 0.0])) == 2


# -- tokens, places, samples -----------------------------------------------------------------------


@jax.jit
def maps(x, mask, segments, places, slots, rewards):
  inner = masking.segment_sum(x, segments, batches.S)
  return {
    'to_token': masking.sample_to_token(rewards, places, segments),
    'sums': masking.token_to_sample_sum(x, mask, segments, slots, batches.S),
    'inner': inner,
    'last': masking.last_true_in_segment(mask, segments),
    'moved': masking.shift(x, segments),
    'start': masking.starts(segments),
    'whole': masking.segment_to_sample(inner, slots),
    'here': [
      masking.segment_to_sample_here(inner[k], places[k], slots) for k in range(batches.M)
    ],
  }


def test_maps_between_tokens_and_samples():
  batch = batches.packed(0)
  padding = batch['segment_ids'] < 0
  dirty = np.where(padding, np.nan, batch['values'])
  names = ('action_mask', 'segment_ids', 'sample_ids', 'sample_slots', 'rewards')
  found = jax.tree.map(np.asarray, maps(dirty, *(batch[n] for n in names)))
  to_token, moved, start, last = (found[n] for n in ('to_token', 'moved', 'start', 'last'))
  expected = np.zeros(batches.N)
  for sample, tokens in batches.samples(batch):
    actions = [p for p in tokens if batch['action_mask'][p]]
    expected[sample] = sum(batch['values'][p] for p in actions)
    m, r, t = tokens[0]
    assert start[m, r, t] and moved[m, r, t] == 0
    place = found['inner'][m, r, batch['segment_ids'][m, r, t]]
    assert place == pytest.approx(sum(batch['values'][p] for p in tokens), abs=1e-5)
    for before, p in itertools.pairwise(tokens):
      assert moved[p] == np.float32(batch['values'][before]) and not start[p]
    for p in tokens:
      assert to_token[p] == np.float32(batch['rewards'][sample])
      assert last[p] == (bool(actions) and p == actions[-1])
  np.testing.assert_allclose(found['sums'], expected, atol=1e-5)
  assert not np.any(to_token[padding]) and not np.any(last[padding]) and not np.any(moved[padding])
  # One minibatch of two knows its own samples only.
  for k in range(batches.M):
    own = np.isin(np.arange(batches.N), batch['sample_ids'][k])
    np.testing.assert_array_equal(found['here'][k], np.where(own, found['whole'], 0))


def test_reverse_segment_scan():
  batch = batches.packed(1)
  segments = batch['segment_ids']
  rng = np.random.default_rng(0)
  decay, x = rng.random(segments.shape), rng.normal(size=segments.shape)
  found = np.asarray(jax.jit(masking.reverse_segment_scan)(decay, x, segments))
  for _, tokens in batches.samples(batch):
    value = 0.0
    for p in reversed(tokens):
      value = x[p] + decay[p] * value
      assert found[p] == pytest.approx(value, rel=1e-4, abs=1e-5)


# -- compiled programs -----------------------------------------------------------------------------


def shape(*dims, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(dims, dtype)


def test_group_reductions_scatter_nothing_and_keep_no_pairs():
  n = 4096
  rewards, ids = shape(n), shape(n, dtype=jnp.int32)

  def loss(x, ids):
    return jnp.sum(masking.group_var(x, ids) + masking.group_max(x, ids))

  for function in (advantages.group_normalize, advantages.leave_one_out, jax.grad(loss)):
    lowered = jax.jit(function).lower(rewards, ids)
    assert 'scatter' not in lowered.as_text()
    compiled = lowered.compile()
    assert ' scatter(' not in compiled.as_text()
    assert compiled.memory_analysis().temp_size_in_bytes < n * n


def test_token_reductions_scatter_nothing():
  tokens, ids = shape(2, 4, 32), shape(2, 4, 32, dtype=jnp.int32)
  mask, places = shape(2, 4, 32, dtype=bool), shape(2, 4, 3, dtype=jnp.int32)
  slots = shape(24, dtype=jnp.int32)

  def loss(x, mask, ids, slots):
    return jnp.sum(masking.token_to_sample_sum(x, mask, ids, slots, 3) ** 2)

  def spread(x, ids):
    return jnp.sum(masking.reverse_segment_scan(x, x, ids) ** 2)

  for function, arguments in (
    (masking.token_to_sample_sum, (tokens, mask, ids, slots)),
    (jax.grad(spread), (tokens, ids)),
    (weighting.prompt_mean, (mask, ids, places, slots, slots)),
  ):
    if function is masking.token_to_sample_sum:
      lowered = jax.jit(function, static_argnums=4).lower(*arguments, 3)
    else:
      lowered = jax.jit(function).lower(*arguments)
    assert 'scatter' not in lowered.as_text()
