"""Aggregation weights: one line of CASES holds a function to everything that it says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import batches
from reference import weighting as reference

from rljax import corrections, masking, selection, weighting
from rljax.binding import signature

# Name -> hyper-parameters.
CASES = {
  'attention_mean': {'focus': 2.0},
  'token_mean': {},
  'token_sum': {},
  'seq_mean_token_mean': {},
  'seq_mean_token_sum': {},
  'fixed_length': {'max_completion_length': 5},
  'prompt_mean': {},
  'sample_mean': {},
  'group_mean': {},
  'apart': {'external': 'seq_mean_token_mean', 'own_coef': 0.3, 'external_coef': 2.0},
}
OF_SAMPLES = {'sample_mean', 'group_mean'}
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
    if name in OF_SAMPLES:
      assert not np.any(weights[batch['sample_ids'] < 0])
    else:
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
  loss = np.random.default_rng(0).normal(size=found[:, 0].shape)
  for k in range(batches.M):
    mine = [(s, p) for s, p in batches.samples(whole) if p[0][0] == k]
    expected = getattr(reference, name)(loss, whole, mine, **CASES[name])
    assert np.sum(np.asarray(found)[k, 0] * loss[k]) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_a_constant_loss_has_the_mean_that_the_name_says():
  batch = batches.packed(0)
  for name in ('token_mean', 'seq_mean_token_mean', 'prompt_mean', 'sample_mean'):
    assert run(name, batch).sum() == pytest.approx(1, abs=1e-6)


# -- golden values: the 4 × 5 matrix of lengths 3, 5, 2, 4 and groups 0, 0, 1, 1 -------------------

MATRIX = np.array(
  [
    [0.13, -0.13, 0.64, 0.1, -0.54],
    [0.36, 1.3, 0.95, -0.7, -1.27],
    [-0.62, 0.04, -2.33, -0.22, -1.25],
    [-0.73, -0.54, -0.32, 0.41, 1.04],
  ]
)
LENGTHS = np.array([3, 5, 2, 4])
TOKENS = {name for name in CASES if name not in OF_SAMPLES}


def matrix_batch(counted):
  return {
    'action_mask': counted[None],
    'segment_ids': np.zeros((1, 4, 5), np.int32),
    'sample_ids': np.arange(4, dtype=np.int32).reshape(1, 4, 1),
    'sample_slots': np.arange(4, dtype=np.int32),
    'group_ids': np.array([0, 0, 1, 1], np.int32),
    'old_attention_entropy': np.full((1, 4, 5), 0.7, np.float32),
    'is_external': np.zeros(4, bool),
  }


ALL_TOKENS = np.arange(5) < LENGTHS[:, None]


def test_golden_values():
  batch = matrix_batch(ALL_TOKENS)
  found = {name: np.sum(run(name, batch)[0] * MATRIX) for name in TOKENS}
  assert found == {
    'token_sum': pytest.approx(-0.48, abs=1e-6),
    'token_mean': pytest.approx(-0.0342857143, abs=1e-7),
    'apart': pytest.approx(0.3 * -0.0342857143, abs=1e-7),  # of nobody else's samples
    'attention_mean': pytest.approx(-0.0342857143, abs=1e-7),
    'seq_mean_token_sum': pytest.approx(-0.12, abs=1e-7),
    'seq_mean_token_mean': pytest.approx(-0.0609166667, abs=1e-7),
    'fixed_length': pytest.approx(-0.024, abs=1e-7),
    'prompt_mean': pytest.approx(-0.0666666667, abs=1e-7),
  }
  # Two micro-batches of two rows each, averaged: another number.
  naive = [
    np.sum(run('token_mean', matrix_batch(ALL_TOKENS & rows[:, None]))[0] * MATRIX)
    for rows in (np.array([True, False, True, False]), np.array([False, True, False, True]))
  ]
  assert np.mean(naive) == pytest.approx(-0.024, abs=1e-7)
  losses = np.array([2.0, 0.0, 0.0, -3.0])
  assert np.sum(run('sample_mean', batch)[0, :, 0] * losses) == pytest.approx(-1 / 4)
  assert np.sum(run('group_mean', batch)[0, :, 0] * losses) == pytest.approx(-1 / 2)


# All tokens of the third sample and the first of the second are rejected; one weight is 2.
KEPT = ALL_TOKENS & (np.arange(4) != 2)[:, None]
KEPT[1, 0] = False
WEIGHT = np.where(KEPT, 1.0, 0.0)
WEIGHT[3, 1] = 2.0
SUMS = (0.64, 0.28, 0.0, -0.73 - 2 * 0.54 - 0.32 + 0.41)


@pytest.mark.parametrize(
  'counted, lengths, samples, group_tokens',
  [(ALL_TOKENS, (3, 5, 2, 4), 4, (8, 6)), (KEPT, (3, 4, 1, 4), 3, (7, 4))],
  ids=['denominator all', 'denominator kept'],
)
def test_what_is_rejected_is_a_zero_or_leaves_the_average(counted, lengths, samples, group_tokens):
  batch = matrix_batch(counted)
  found = {name: np.sum(run(name, batch)[0] * WEIGHT * MATRIX) for name in TOKENS}
  total, means = sum(SUMS), [s / n for s, n in zip(SUMS, lengths, strict=True)]
  assert found == {
    'token_sum': pytest.approx(total, abs=1e-6),
    'token_mean': pytest.approx(total / sum(group_tokens), abs=1e-7),
    'apart': pytest.approx(0.3 * total / sum(group_tokens), abs=1e-7),
    'attention_mean': pytest.approx(total / sum(group_tokens), abs=1e-7),  # all attend alike
    'seq_mean_token_sum': pytest.approx(total / samples, abs=1e-7),
    'seq_mean_token_mean': pytest.approx(sum(means) / samples, abs=1e-7),
    'fixed_length': pytest.approx(total / samples / 5, abs=1e-7),
    'prompt_mean': pytest.approx(
      ((SUMS[0] + SUMS[1]) / group_tokens[0] + SUMS[3] / group_tokens[1]) / 2, abs=1e-7
    ),
  }
  losses = np.array([2.0, 1.0, 0.0, -3.0])  # the third sample is not kept
  assert np.sum(run('sample_mean', batch)[0, :, 0] * losses) == pytest.approx(0 / samples)
  losses = np.array([2.0, 0.0, 0.0, -3.0])
  assert np.sum(run('group_mean', batch)[0, :, 0] * losses) == pytest.approx(-1 / 2)


@pytest.mark.parametrize('denominator', ['all', 'kept'])
@pytest.mark.parametrize('name', sorted(TOKENS))
def test_weights_after_selections_and_a_correction(name, denominator):
  # Σ weight · keep · correction · loss with the denominators of what stays counted.
  batch = batches.packed(3)
  batch['truncated'][next(batches.samples(batch))[0]] = True
  arrays = {n: jnp.asarray(x) for n, x in batch.items()}

  def of(function, **hyper):
    taken = (arrays[n] for n in signature(function).arrays)
    return [np.asarray(x) for x in function(*taken, **hyper, denominator=denominator)]

  places = (arrays['sample_ids'], arrays['segment_ids'])
  filtered = [
    np.asarray(masking.sample_to_token(jnp.asarray(x), *places))
    for x in of(selection.overlong_filter)
  ]
  chosen = of(selection.high_entropy, fraction=0.7)
  weight, counted = of(corrections.token_mask, min_weight=0.7, max_weight=1.6)
  factor = weight * filtered[0] * chosen[0]
  counted = batch['action_mask'] & filtered[1] & chosen[1] & counted
  loss = np.random.default_rng(0).normal(size=factor.shape)
  found = np.sum(run(name, batch | {'action_mask': counted}) * factor * loss)
  samples = list(batches.samples(batch))
  expected = getattr(reference, name)(
    loss * factor, batch | {'action_mask': counted}, samples, **CASES[name]
  )
  assert found == pytest.approx(expected, rel=1e-5)
  # A sample that lost all its tokens is in the mean over samples, or it is not.
  lost = [s for s, own in samples if not any(factor[p] for p in own)]
  there = [s for s, own in samples if any(counted[p] for p in own)]
  assert lost and bool(set(lost) & set(there)) == (denominator == 'all')
