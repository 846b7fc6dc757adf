"""Aggregation weights: one line of CASES holds a function to everything that it says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import batches
from reference import weighting as reference

from rljax import weighting
from rljax.binding import signature

# Name -> hyper-parameters.
CASES = {
  'token_mean': {},
  'token_sum': {},
  'seq_mean_token_mean': {},
  'seq_mean_token_sum': {},
  'fixed_length': {'max_completion_length': 5},
  'prompt_mean': {},
}
each_case = pytest.mark.parametrize('name', list(CASES))


@functools.cache
def compiled(name):
  return jax.jit(functools.partial(getattr(weighting, name), **CASES[name]))


def run(name, batch):
  names = signature(getattr(weighting, name)).arrays
  return np.asarray(compiled(name)(*(jnp.asarray(batch[n]) for n in names)))


def test_every_weighting_has_a_case():
  assert {*CASES} == {*weighting.__all__}


@each_case
def test_weighted_sum_is_the_formula(name):
  for seed in range(4):
    batch = batches.packed(seed)
    if seed == 3:  # a sample whose tokens were all taken out is in no denominator
      batch['action_mask'][next(batches.samples(batch))[1][0][:2]] = False
    weights = run(name, batch)
    assert weights.dtype == np.float32
    assert not np.any(weights[~batch['action_mask']])
    loss = np.random.default_rng(seed).normal(size=weights.shape)
    expected = getattr(reference, name)(loss, batch, list(batches.samples(batch)), **CASES[name])
    assert np.sum(weights * loss) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@each_case
def test_order_of_rows_does_not_matter(name):
  batch = batches.packed(0)
  order = np.random.default_rng(0).permutation(batches.M * batches.ROWS)

  def turn(x):
    return x.reshape(len(order), *x.shape[2:])[order].reshape(x.shape)

  turned = {n: turn(x) if x.ndim == 3 else x.copy() for n, x in batch.items()}
  for place, sample in enumerate(turned['sample_ids'].ravel()):
    if sample >= 0:
      turned['sample_slots'][sample] = place
  np.testing.assert_allclose(run(name, turned), turn(run(name, batch)), rtol=1e-6)


@each_case
def test_nothing_to_learn_from_gives_no_weight(name):
  batch = batches.packed(0)
  batch['action_mask'][:] = False
  assert not np.any(run(name, batch))


@each_case
def test_minibatches_are_weighted_one_by_one(name):
  # As the update does it: mapped over minibatches, with the sample arrays of the whole iteration.
  whole = batches.packed(0)
  names = signature(getattr(weighting, name)).arrays
  split = {n: whole[n][:, None] if whole[n].ndim == 3 else whole[n] for n in names}
  axes = tuple(0 if split[n].ndim == 4 else None for n in names)
  mapped = jax.jit(jax.vmap(functools.partial(getattr(weighting, name), **CASES[name]), axes))
  found = mapped(*(jnp.asarray(split[n]) for n in names))
  loss = np.random.default_rng(0).normal(size=whole['action_mask'].shape)
  for k in range(batches.M):
    mine = [(s, p) for s, p in batches.samples(whole) if p[0][0] == k]
    expected = getattr(reference, name)(loss, whole, mine, **CASES[name])
    assert np.sum(np.asarray(found)[k, 0] * loss[k]) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_a_constant_loss_has_the_mean_that_the_name_says():
  batch = batches.packed(0)
  for name in ('token_mean', 'seq_mean_token_mean', 'prompt_mean'):
    assert run(name, batch).sum() == pytest.approx(1, abs=1e-6)


def test_golden_values():
  # The 4 × 5 matrix of lengths 3, 5, 2, 4 and groups (0, 0, 1, 1), evaluated by hand in numpy.
  loss = np.round(np.random.default_rng(0).normal(size=(4, 5)), 2)
  batch = {
    'action_mask': (np.arange(5) < np.array([[3], [5], [2], [4]]))[None],
    'segment_ids': np.zeros((1, 4, 5), np.int32),
    'sample_ids': np.arange(4, dtype=np.int32).reshape(1, 4, 1),
    'sample_slots': np.arange(4, dtype=np.int32),
    'group_ids': np.array([0, 0, 1, 1], np.int32),
  }
  found = {name: np.sum(run(name, batch)[0] * loss) for name in CASES}
  lengths = (3, 5, 2, 4)
  sums = [loss[i, :n].sum() for i, n in enumerate(lengths)]
  assert found['token_sum'] == pytest.approx(sum(sums), abs=1e-5)
  assert found['token_mean'] == pytest.approx(sum(sums) / 14, abs=1e-6)
  assert found['seq_mean_token_sum'] == pytest.approx(sum(sums) / 4, abs=1e-6)
  assert found['fixed_length'] == pytest.approx(sum(sums) / 20, abs=1e-6)
  means = [s / n for s, n in zip(sums, lengths, strict=True)]
  assert found['seq_mean_token_mean'] == pytest.approx(np.mean(means), abs=1e-6)
  prompts = ((sums[0] + sums[1]) / 8 + (sums[2] + sums[3]) / 6) / 2
  assert found['prompt_mean'] == pytest.approx(prompts, abs=1e-6)
  # A mean of token-means of micro-batches is another number.
  naive = ((sums[0] + sums[2]) / 5 + (sums[1] + sums[3]) / 9) / 2
  assert abs(found['token_mean'] - naive) > 0.01
