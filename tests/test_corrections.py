"""Mismatch corrections: one line of cases.corrections holds a function to everything it says."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.corrections import CASES
from reference import batches
from reference import corrections as reference
from reference.packing import repacked

from rljax import corrections
from rljax.binding import signature
from rljax.corrections import mismatch_metrics
from rljax.metrics.names import check_name

each_case = pytest.mark.parametrize('case', list(CASES.values()), ids=list(CASES))


@functools.cache
def compiled(name):
  case = CASES[name]
  return jax.jit(functools.partial(case.function, **case.hyper))


def run(case, batch):
  name = next(n for n, c in CASES.items() if c is case)
  names = signature(case.function).arrays
  return compiled(name)(*(jnp.asarray(batch[n]) for n in names))


def with_bad_tokens(batch):
  """NaN, ±inf at an action token of each of three samples, and one sample without any good one."""
  batch = {n: x.copy() for n, x in batch.items()}
  own = [[p for p in places if batch['action_mask'][p]] for _, places in batches.samples(batch)]
  batch['old_logprobs'][own[0][0]] = np.nan
  batch['old_logprobs'][own[1][0]] = -np.inf
  batch['policy_logprobs'][own[2][-1]] = -np.inf
  for place in own[3]:
    batch['policy_logprobs'][place] = np.nan
  return batch


def in_float32(batch):
  return {n: x.astype(np.float32) if x.dtype == float else x for n, x in batch.items()}


def test_every_correction_has_a_case():
  public = {*corrections.__all__} - {'mismatch_metrics'}
  assert public == {case.function.__name__ for case in CASES.values()}


@each_case
def test_weights_are_those_of_the_formula(case):
  seen = []
  for seed in range(3):
    batch = batches.packed(seed)
    batch = with_bad_tokens(batch) if seed == 2 else batch
    expected, expected_counted = case.reference(batch, list(batches.samples(batch)))
    with jax.enable_x64(True):
      weight, counted = run(case, batch)
    np.testing.assert_allclose(weight, expected, rtol=1e-12)
    np.testing.assert_array_equal(counted, expected_counted)
    seen += list(weight[batch['action_mask']])
  if 'denominator' in signature(case.function).hyper:
    assert 0.1 < np.mean(np.array(seen) == 0) < 0.9, 'the case rejects some tokens'


@each_case
def test_masked_entries_have_no_influence(case):
  batch = in_float32(batches.packed(0))
  expected = run(case, batch)
  mask = batch['action_mask']
  for filler in (np.nan, np.inf, -np.inf, 1e30):
    names = ('old_logprobs', 'policy_logprobs')
    dirty = batch | {n: np.where(mask, batch[n], filler).astype(np.float32) for n in names}
    jax.tree.map(np.testing.assert_array_equal, run(case, dirty), expected)
  weight, counted = expected
  assert weight.dtype == jnp.float32 and counted.dtype == bool
  assert not np.any(weight[~mask]) and not np.any(counted[~mask])


@each_case
def test_rows_and_micro_batches_change_nothing(case):
  batch = with_bad_tokens(batches.packed(1))
  with jax.enable_x64(True):
    expected = run(case, batch)
    other, moved = repacked(batch)
    found = run(case, other)
  for old, new in moved:
    assert found[0][new] == pytest.approx(float(expected[0][old]), rel=1e-12)
    assert found[1][new] == expected[1][old]
  assert np.sum(found[1]) == np.sum(expected[1])


@each_case
def test_weights_are_constants(case):
  batch = batches.packed(0)
  names = signature(case.function).arrays
  arrays = {n: jnp.asarray(batch[n], jnp.float32) for n in ('old_logprobs', 'policy_logprobs')}

  def total(arrays):
    given = {**batch, **arrays}
    return jnp.sum(case.function(*(jnp.asarray(given[n]) for n in names), **case.hyper)[0])

  for gradient in jax.grad(total)(arrays).values():
    assert not np.any(gradient)


@each_case
def test_hyper_parameters_may_be_traced_and_mapped(case):
  hyper = signature(case.function).hyper | case.hyper
  floats = {n: v for n, v in hyper.items() if isinstance(v, float)}
  if not floats:
    return
  batch = batches.packed(0)
  arrays = [jnp.asarray(batch[n], jnp.float32 if batch[n].dtype == float else None)
            for n in signature(case.function).arrays]  # fmt: skip
  two = {n: jnp.array([1.5 * v, v], jnp.float32) for n, v in floats.items()}
  found = jax.jit(jax.vmap(lambda h: case.function(*arrays, **(case.hyper | h))[0]))(two)
  np.testing.assert_allclose(found[1], run(case, batch)[0], rtol=1e-6)


@each_case
def test_where_the_policies_agree_nothing_is_corrected(case):
  batch = batches.packed(0)
  batch['old_logprobs'] = batch['policy_logprobs']
  weight, counted = run(case, batch)
  np.testing.assert_allclose(weight, batch['action_mask'], rtol=1e-6)
  np.testing.assert_array_equal(counted, batch['action_mask'])


@each_case
def test_extreme_and_half_precision_log_probs_stay_finite(case):
  batch = batches.packed(0)
  batch['old_logprobs'] = np.where(np.arange(batches.T) % 2, -1e4, 1e4) + batch['old_logprobs']
  weight, _ = run(case, batch)
  assert np.all(np.isfinite(weight)) and weight.dtype == jnp.float32
  halves = batches.packed(0)
  for name in ('old_logprobs', 'policy_logprobs'):
    halves[name] = jnp.asarray(halves[name], jnp.bfloat16)
  widened = halves | {n: x.astype(jnp.float32) for n, x in halves.items() if x.dtype == 'bfloat16'}
  weight, _ = run(case, halves)
  assert weight.dtype == jnp.float32
  np.testing.assert_array_equal(weight, run(case, widened)[0])


def row_of(log_weights):
  """The arrays of one sample of these log-weights."""
  old = jnp.asarray(log_weights, jnp.float32)[None]
  ids = jnp.zeros((1, old.shape[1]), jnp.int32)
  return old, jnp.zeros_like(old), jnp.ones_like(old, bool), ids, jnp.zeros((1, 1), jnp.int32)


def test_bounds_are_on_the_weight_and_not_on_its_inverse():
  arrays = row_of(np.log([0.15, 0.9, 1.1, 5.0]))
  weight, _ = corrections.token_mask(*arrays[:4], min_weight=0.1, max_weight=1.2)
  np.testing.assert_allclose(weight, [[0.15, 0.9, 1.1, 0]], rtol=1e-5)
  weight, _ = corrections.divergence_rejection(
    *arrays, level='token', kind='k1', lower=np.log(0.1), upper=np.log(1.2)
  )
  np.testing.assert_array_equal(weight, [[1, 1, 1, 0]])
  for low, high, kept in ((0.9, 1.2, 1), (1.2, 2.0, 0)):
    log_w = np.full(4, np.log(1.1))
    assert np.all((corrections.geometric_mask(
      *row_of(log_w), min_mean=low, max_mean=high)[0] > 0) == kept)  # fmt: skip


def test_golden_values_of_one_sample():
  arrays = row_of(np.log([0.5, 4.0, 1.5]))  # Π w = 3, geometric mean 1.442
  expected = {
    'token_truncate': [0.5, 2, 1.5],
    'sequence_truncate': [2, 2, 2],
    'token_mask': [0.5, 4, 1.5],
    'geometric_mask': [0, 0, 0],
    'divergence_rejection': [0, 0, 0],
    'self_normalize': [0.25, 2, 0.75],
  }
  for name, weights in expected.items():
    function = getattr(corrections, name)
    found, counted = function(*arrays[: len(signature(function).arrays)])
    np.testing.assert_allclose(found, [weights], rtol=1e-5, err_msg=name)
    assert np.all(counted)
  over, _ = corrections.sequence_mask(*row_of(np.log([0.5, 4.0, 1.51])))
  under, _ = corrections.sequence_mask(*row_of(np.log([0.5, 4.0, 1.49])))
  assert not np.any(over)
  np.testing.assert_allclose(under, np.full((1, 3), 2.98), rtol=1e-5)


def test_unknown_options_are_errors():
  arrays = row_of([0.1])
  for function, hyper in (
    (corrections.token_mask, {'denominator': 'some'}),
    (corrections.sequence_mask, {'denominator': 'some'}),
    (corrections.geometric_mask, {'denominator': 'some'}),
    (corrections.divergence_rejection, {'denominator': 'some'}),
    (corrections.divergence_rejection, {'level': 'group'}),
    (corrections.divergence_rejection, {'aggregate': 'median'}),
    (corrections.divergence_rejection, {'kind': 'k4'}),
    (corrections.self_normalize, {'level': 'group'}),
  ):
    name, value = next(iter(hyper.items()))
    with pytest.raises(ValueError, match=f'{function.__name__}: {name} {value!r}'):
      function(*arrays[: len(signature(function).arrays)], **hyper)


# -- exact expectations: samples in the proportions of μ -------------------------------------------

MU = np.array([5, 3, 2])  # tenths; token 2 ends the completion
PI = np.array([0.3, 0.5, 0.2])
PI_NEXT = {0: np.array([0.6, 0.1, 0.3]), 1: np.array([0.2, 0.3, 0.5])}


def tree():
  """All two-step completions, each as often as μ draws it: (old, policy, mask, function values)."""
  rows = []
  for first, second in itertools.product(range(3), range(3)):
    path = [(PI[first], MU[first])]
    if first != 2:
      path.append((PI_NEXT[first][second], MU[second]))
    for _ in range(MU[first] * MU[second]):
      rows.append((path, 10 * first + second if first != 2 else -7.0))
  old, policy, mask = (np.zeros((len(rows), 2)) for _ in range(3))
  for i, (path, _) in enumerate(rows):
    for t, (p, m) in enumerate(path):
      old[i, t], policy[i, t], mask[i, t] = np.log(p), np.log(m / 10), 1
  return old, policy, mask.astype(bool), np.array([value for _, value in rows])


def test_untruncated_sequence_weights_have_no_bias_and_token_weights_do():
  old, policy, mask, value = tree()
  ids, places = np.zeros(mask.shape, np.int32), np.arange(len(mask), dtype=np.int32)[:, None]
  with jax.enable_x64(True):
    arrays = [jnp.asarray(x) for x in (old, policy, mask, ids, places)]
    found = (
      corrections.sequence_truncate(*arrays, max_weight=np.inf),
      corrections.token_truncate(*arrays[:4], max_weight=np.inf),
      corrections.sequence_truncate(*arrays, max_weight=1.2),
      corrections.self_normalize(*arrays, level='sequence'),
    )
  whole, token, capped, normal = (np.asarray(weight) for weight, _ in found)
  expected = sum(
    PI[a] * PI_NEXT[a][b] * (10 * a + b) for a, b in itertools.product(range(2), range(3))
  ) - 7 * PI[2]  # fmt: skip
  assert np.mean(whole[:, 0] * value) == pytest.approx(expected, abs=1e-12)
  assert np.mean(normal[:, 0] * value) == pytest.approx(expected, abs=1e-12)  # E w = 1
  assert abs(np.mean(token[:, 0] * value) - expected) > 0.1
  assert abs(np.mean(capped[:, 0] * value) - expected) > 0.1


def test_metrics_are_the_divergences_that_they_are_called():
  mu, pi = MU / 10, PI
  tokens = np.repeat(np.arange(3), MU)
  half = (mu + pi) / 2
  with jax.enable_x64(True):
    found = mismatch_metrics(
      jnp.asarray(np.log(mu)[tokens]), jnp.asarray(np.log(pi)[tokens]), jnp.ones(10, bool)
    )
  kl = np.sum(mu * np.log(mu / pi))
  expected = {
    'kl': kl,
    'k3': kl,
    'kl_reverse': np.sum(pi * np.log(pi / mu)),
    'js': np.sum(mu * np.log(mu / half) + pi * np.log(pi / half)) / 2,
    'chi2_token': np.sum((pi - mu) ** 2 / mu),
    'ratio_mean': 1,
  }
  for name, value in expected.items():
    assert found[f'mismatch/{name}'] == pytest.approx(value, abs=1e-12), name
  old, policy, mask, _ = tree()
  ids, places = np.zeros(mask.shape, np.int32), np.arange(len(mask), dtype=np.int32)[:, None]
  with jax.enable_x64(True):
    found = mismatch_metrics(*(jnp.asarray(x) for x in (policy, old, mask, ids, places)))
  chi2 = sum(
    (PI[a] * PI_NEXT[a][b]) ** 2 / (mu[a] * mu[b]) for a, b in itertools.product(range(2), range(3))
  ) + PI[2] ** 2 / mu[2] - 1  # fmt: skip
  assert found['mismatch/chi2_seq'] == pytest.approx(chi2, abs=1e-12)


# -- metrics ---------------------------------------------------------------------------------------


def measure(batch):
  names = ('policy_logprobs', 'old_logprobs', 'action_mask', 'segment_ids', 'sample_ids')
  return mismatch_metrics(*(jnp.asarray(batch[n]) for n in names))


def test_definitions():
  for batch in (batches.packed(0), with_bad_tokens(batches.packed(1))):
    expected = reference.mismatch_metrics(batch, list(batches.samples(batch)))
    for name in ('old_logprobs', 'policy_logprobs'):
      filler = np.nan if name == 'old_logprobs' else np.inf
      batch[name] = np.where(batch['action_mask'], batch[name], filler)
    found = measure(batch)
    assert {f'mismatch/{name}' for name in expected} == set(found)
    for name, value in expected.items():
      assert found[f'mismatch/{name}'] == pytest.approx(value, rel=1e-4, abs=1e-6), name
      check_name(f'mismatch/{name}')


def test_without_segments_the_tokens_are_measured():
  batch = batches.packed(0)
  names = ('policy_logprobs', 'old_logprobs', 'action_mask')
  found, whole = mismatch_metrics(*(jnp.asarray(batch[n]) for n in names)), measure(batch)
  of_samples = {n for n in whole if 'log_ppl_diff' in n or n.endswith('chi2_seq')}
  assert set(found) == set(whole) - of_samples
  for name, value in found.items():
    assert value == whole[name]


def test_equal_policies_and_empty_masks():
  l = jnp.zeros((3, 4)) - 1
  ids, places = jnp.zeros((3, 4), jnp.int32), jnp.arange(3, dtype=jnp.int32)[:, None]
  ones = {'ess', 'ppl_ratio', 'ratio_mean', 'ratio_min', 'ratio_max', 'token_mult_prob_error'}
  for mask in (jnp.ones((3, 4), bool), jnp.zeros((3, 4), bool)):
    found = mismatch_metrics(l, l, mask, ids, places)
    for name, value in found.items():
      name = name.removeprefix('mismatch/')
      if name in ('ppl_policy', 'ppl_old'):
        assert value == pytest.approx(np.e if mask[0, 0] else 1)
      else:
        assert value == (name in ones), name


def test_tiny_mismatch_is_not_lost_in_rounding():
  gap = jnp.where(jnp.arange(8) % 2 == 0, 1e-4, -1e-4)[None]
  found = mismatch_metrics(jnp.zeros((1, 8)), gap, jnp.ones((1, 8), bool))
  assert found['mismatch/k3'] == pytest.approx(5e-9, rel=0.05)
  assert found['mismatch/kl_reverse'] == pytest.approx(5e-9, rel=0.05)
  assert found['mismatch/chi2_token'] == pytest.approx(2e-8, rel=0.05)
