"""Selections: one line of cases.selection holds a function to everything that it says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.selection import CASES, RANDOM
from reference import batches
from reference import selection as reference
from reference.packing import repacked

from rljax import advantages, selection
from rljax.binding import signature
from rljax.selection import order

EVERY = {**CASES, **RANDOM}
KEY = jax.random.key(7)
FLOATS = ('old_logprobs', 'policy_logprobs', 'old_entropy', 'advantages')
TOKEN_CASES = {n: c for n, c in EVERY.items() if 'action_mask' in signature(c.function).arrays}
SAMPLE_CASES = {n: c for n, c in EVERY.items() if n not in TOKEN_CASES}


def each(cases):
  return pytest.mark.parametrize('case', list(cases.values()), ids=list(cases))


@functools.cache
def compiled(name):
  case = EVERY[name]
  return jax.jit(functools.partial(case.function, **case.hyper))


def run(case, batch, key=KEY):
  name = next(n for n, c in EVERY.items() if c is case)
  arrays = (jnp.asarray(batch[n]) for n in signature(case.function).arrays)
  return compiled(name)(*arrays, **drawn(case, key))


def drawn(case, key=KEY):
  return {'key': key} if signature(case.function).reserved else {}


def batch_of(seed, case=None):
  """A packed batch with groups of equal and of binary rewards; seed 2: inputs not finite.

  For a subset by variance no rewards are equal: the order of the samples would decide.
  """
  batch = {n: np.array(x) for n, x in batches.packed(seed).items()}
  groups = batch['group_ids']
  if case is None or case.hyper.get('rule') != 'max_variance':
    batch['rewards'] = np.where(groups == 1, 0.3, batch['rewards'])
    batch['rewards'] = np.where(groups == 2, batch['rewards'] > 0, batch['rewards'])
  # No two lengths of a group are equal, so that the order in the batch decides nothing.
  batch['completion_length'] = batch['completion_length'] + 0.01 * np.arange(batches.N)
  if seed == 2:
    own = [[p for p in places if batch['action_mask'][p]] for _, places in batches.samples(batch)]
    for i, (name, filler) in enumerate(zip(FLOATS, (np.nan, -np.inf, np.inf, np.nan))):
      batch[name][own[i][0]] = filler
    for place in own[4]:
      batch['old_logprobs'][place] = np.nan
    batch['rewards'][np.flatnonzero(groups >= 0)[:2]] = np.nan, -np.inf
  return batch


def in_float32(batch):
  return {n: x.astype(np.float32) if x.dtype == float else x for n, x in batch.items()}


def test_every_selection_has_a_case():
  assert {*selection.__all__} == {case.function.__name__ for case in EVERY.values()}


@each(CASES)
def test_selections_are_those_of_the_formula(case):
  chosen = []
  for seed in range(3):
    batch = batch_of(seed, case)
    with jax.enable_x64(True):
      found = run(case, batch)
    expected = case.reference(batch, list(batches.samples(batch)))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    keep, everything = (found[0], found[1]) if isinstance(found, tuple) else (found, None)
    if everything is not None:
      assert keep.dtype == bool and everything.dtype == bool
      assert not np.any(keep & ~everything)
    if keep.dtype == bool:
      used = batch['action_mask'] if keep.ndim == 3 else batch['group_ids'] >= 0
      chosen += list(np.asarray(keep)[used])
  if chosen:
    assert 0 < np.mean(chosen) < 1, 'the case keeps some and drops some'


@each(TOKEN_CASES)
def test_masked_entries_have_no_influence(case):
  batch = in_float32(batch_of(0))
  expected = run(case, batch)
  mask = batch['action_mask']
  for filler in (np.nan, np.inf, -np.inf, 1e30):
    dirty = batch | {n: np.where(mask, batch[n], filler).astype(np.float32) for n in FLOATS}
    dirty['policy_step'] = np.where(mask, batch['policy_step'], -1000)
    jax.tree.map(np.testing.assert_array_equal, run(case, dirty), expected)
  for x in jax.tree.leaves(expected):
    assert not np.any(x[~mask])


@each(SAMPLE_CASES)
def test_unused_and_unscorable_samples_have_no_influence(case):
  batch = in_float32(batch_of(0))
  unused = batch['group_ids'] < 0
  expected = run(case, batch)
  for filler in (np.nan, np.inf, 1e30):
    dirty = batch | {'rewards': np.where(unused, filler, batch['rewards']).astype(np.float32)}
    jax.tree.map(np.testing.assert_array_equal, run(case, dirty), expected)
  if 'rewards' not in signature(case.function).arrays:
    return
  out = int(np.flatnonzero(~unused)[0])
  for filler in (np.nan, np.inf, -np.inf):
    rewards = batch['rewards'].copy()
    rewards[out] = filler
    group_ids = batch['group_ids'].copy()
    group_ids[out] = -1
    left = run(case, batch | {'rewards': rewards})
    without = run(case, batch | {'group_ids': group_ids})
    jax.tree.map(np.testing.assert_array_equal, left, without)


@each(TOKEN_CASES)
def test_rows_and_micro_batches_change_nothing(case):
  for seed in (1, 2):
    batch = batch_of(seed)
    other, moved = repacked(batch, seed)
    with jax.enable_x64(True):
      expected, found = jax.tree.leaves(run(case, batch)), jax.tree.leaves(run(case, other))
    for a, b in zip(expected, found, strict=True):
      assert [bool(b[new]) for _, new in moved] == [bool(a[old]) for old, _ in moved]
      assert np.sum(a) == np.sum(b)


@each(SAMPLE_CASES)
def test_order_of_samples_changes_nothing(case):
  batch = batch_of(1, case)
  turn = np.random.default_rng(0).permutation(batches.N)
  names = ('rewards', 'group_ids', 'truncated', 'is_external', 'completion_length')
  turned = batch | {n: batch[n][turn] for n in names}
  expected, found = jax.tree.leaves(run(case, batch)), jax.tree.leaves(run(case, turned))
  for a, b in zip(expected, found, strict=True):
    np.testing.assert_array_equal(b, np.asarray(a)[turn])


@each(TOKEN_CASES)
def test_a_minibatch_of_many_is_selected_alone(case):
  # As the update does it: mapped over minibatches, with the sample arrays of the whole iteration.
  whole = batch_of(0)
  names = signature(case.function).arrays
  split = {n: whole[n][:, None] if whole[n].ndim == 3 else whole[n] for n in names}
  axes = tuple(0 if split[n].ndim == 4 else None for n in names)
  function = functools.partial(case.function, **case.hyper, **drawn(case))
  mapped = jax.jit(jax.vmap(function, axes))(*(jnp.asarray(x) for x in split.values()))
  for k in range(batches.M):
    other = np.arange(batches.M)[:, None, None] != k
    alone = whole | {'action_mask': whole['action_mask'] & ~other}
    for name in ('segment_ids', 'sample_ids'):
      alone[name] = np.where(other, -1, whole[name])
    for a, b in zip(jax.tree.leaves(mapped), jax.tree.leaves(run(case, alone)), strict=True):
      np.testing.assert_array_equal(a[k, 0], b[k])
      assert not np.any(b[1 - k])


@each(EVERY)
def test_hyper_parameters_may_be_traced_and_mapped(case):
  found = signature(case.function)
  floats = {n: v for n, v in (found.hyper | case.hyper).items() if isinstance(v, float)}
  if not floats:
    return
  batch = in_float32(batch_of(0))
  arrays = [jnp.asarray(batch[n]) for n in found.arrays]
  two = {n: jnp.array([0.7 * v, v], jnp.float32) for n, v in floats.items()}
  mapped = jax.jit(
    jax.vmap(lambda h: case.function(*arrays, **(case.hyper | h), **drawn(case)))
  )(two)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b), mapped, run(case, batch))


@each({n: c for n, c in EVERY.items() if 'denominator' in signature(c.function).hyper})
def test_denominators(case):
  batch = batch_of(2)
  arrays = [jnp.asarray(batch[n]) for n in signature(case.function).arrays]
  hyper = {n: v for n, v in case.hyper.items() if n != 'denominator'}
  hyper |= drawn(case)

  @jax.jit
  def both(*arrays):
    return [case.function(*arrays, **hyper, denominator=d) for d in ('all', 'kept')]

  every, kept = both(*arrays)
  np.testing.assert_array_equal(every[0], kept[0])
  np.testing.assert_array_equal(kept[1], kept[0])
  assert np.sum(every[1]) > np.sum(kept[1])
  with pytest.raises(ValueError, match=f"{case.function.__name__}: denominator 'some'"):
    case.function(*arrays, **hyper, denominator='some')


def test_unknown_options_are_errors():
  batch = batch_of(0)
  for function, hyper in (
    (selection.downsample, {'rule': 'longest'}),
    (selection.staleness, {'level': 'group'}),
    (selection.covariance_subset, {'bounds': 'rank', 'key': KEY}),
  ):
    name, value = next(iter(hyper.items()))
    with pytest.raises(ValueError, match=f'{function.__name__}: {name} {value!r}'):
      function(*(jnp.asarray(batch[n]) for n in signature(function).arrays), **hyper)


# -- what the methods are for ----------------------------------------------------------------------


def tokens(values, dtype=jnp.float32):
  """[1, T] arrays of one row with one sample: (values, mask, segments, places)."""
  x = jnp.asarray(values, dtype)[None]
  return x, jnp.ones(x.shape, bool), jnp.zeros(x.shape, jnp.int32), jnp.zeros((1, 1), jnp.int32)


def test_m2po_drops_the_outliers_and_nothing_else():
  gaps = np.array([0.1] * 97 + [3.0, -2.0, 1.0])
  x, mask, ids, _ = tokens(gaps)
  # 0.97 + 9 + 4 + 1 over 100 is 0.15; without 3 and −2 it is 0.0201.
  keep, counted = selection.m2po(x, jnp.zeros_like(x), mask, ids)
  np.testing.assert_array_equal(keep[0], np.abs(gaps) < 1.5)
  assert np.all(counted)
  assert np.all(selection.m2po(x, jnp.zeros_like(x), mask, ids, threshold=0.16)[0])
  assert not np.any(selection.m2po(x, jnp.zeros_like(x), mask, ids, threshold=0.01)[0])
  assert np.sum(selection.m2po(x, jnp.zeros_like(x), mask, ids, threshold=0.0101)[0]) == 97


def test_opsm_drops_only_bad_completions_that_are_already_unlikely():
  old = jnp.asarray([[-1.0, -2.0], [-1.0, -2.0], [-1.0, -1.0], [-3.0, 0.0]])
  policy = jnp.asarray([[-1.0, -1.0], [-1.0, -1.0], [-1.0, -2.0], [0.0, -3.0]])
  advantages_ = jnp.asarray([[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]])
  ids, places = jnp.zeros((4, 2), jnp.int32), jnp.arange(4, dtype=jnp.int32)[:, None]
  keep, _ = selection.opsm(advantages_, old, policy, jnp.ones((4, 2), bool), ids, places)
  np.testing.assert_array_equal(keep, [[0, 1], [1, 1], [1, 1], [1, 1]])


def test_one_bad_token_drops_the_completion_from_the_trust_region():
  old, mask, ids, places = tokens([0.0] * 50 + [0.5])  # k3 of 0.5 is 0.149
  policy = jnp.zeros_like(old)
  drop, _ = selection.trust_region_mask(old, policy, mask, ids, places)
  keep, _ = selection.trust_region_mask(
    old, policy, mask, ids, places, max_divergence=None, mean_divergence=0.003
  )
  assert not np.any(drop) and np.all(keep)
  drop, _ = selection.trust_region_mask(
    old, policy, mask, ids, places, max_divergence=0.2, mean_divergence=0.0029
  )
  assert not np.any(drop)


def test_the_share_of_tokens_is_exact():
  chosen = jax.jit(lambda x, mask, f: selection.high_entropy(x, mask, ids, fraction=f)[0])
  for number in (1, 4, 5, 9, 10, 11, 35, 100):
    x, _, ids, _ = tokens(np.random.default_rng(number).permutation(100) - 100 + number)
    mask = x >= 0
    for tenths in (1, 2, 3, 7, 10):
      keep = chosen(x, mask, tenths / 10)
      assert np.sum(keep) == -(-number * tenths // 10)
      assert np.min(x[keep]) == number - np.sum(keep)


def test_tokens_that_equal_the_last_one_are_kept_together():
  x, mask, ids, _ = tokens([1.0, 2.0, 2.0, 2.0, 3.0, 0.0])
  keep, counted = selection.high_entropy(x, mask, ids, fraction=0.34)  # three of six
  np.testing.assert_array_equal(keep[0], [0, 1, 1, 1, 1, 0])
  np.testing.assert_array_equal(counted, keep)


def test_nothing_to_select_from():
  batch = batch_of(0)
  batch['action_mask'][:] = False
  batch['group_ids'][:] = -1
  for case in EVERY.values():
    for x in jax.tree.leaves(run(case, batch)):
      assert not np.any(x if x.dtype == bool else np.isfinite(x))


@pytest.mark.parametrize('bounds', ['value', 'quantile'])
def test_a_random_subset_of_the_covariant_tokens_is_dropped(bounds):
  case = RANDOM['covariance_subset' + (', quantiles' if bounds == 'quantile' else '')]
  dropped = set()
  for seed in range(2):
    batch = batch_of(seed)
    samples = list(batches.samples(batch))
    cov = reference.covariances(batch, samples)
    if bounds == 'value':
      candidates = {p for p, c in cov.items() if 0.1 < c < 0.9}
    else:
      upper = sorted(cov.values())[-int(np.ceil(0.3 * len(cov))) :]
      candidates = {p for p, c in cov.items() if c >= upper[0]}
    number = max(int(case.hyper['fraction'] * len(cov)), 1)
    assert 1 < number < len(candidates)
    with jax.enable_x64(True):
      draws = [np.asarray(run(case, batch, jax.random.key(i))[0]) for i in range(40)]
    for keep in draws:
      out = {p for p in cov if not keep[p]}
      assert out <= candidates and len(out) == number
      assert np.sum(keep) == len(cov) - number
    dropped = {p for keep in draws for p in cov if not keep[p]}
    assert dropped == candidates, 'each candidate is drawn now and then'


def test_too_few_candidates_are_all_dropped():
  batch = batch_of(0)
  cov = reference.covariances(batch, list(batches.samples(batch)))
  arrays = [jnp.asarray(batch[n]) for n in signature(selection.covariance_subset).arrays]
  second, first = sorted(cov.values())[-2:]
  keep, counted = selection.covariance_subset(
    *arrays, key=KEY, fraction=0.5, low=(first + second) / 2, high=first + 1
  )
  assert np.sum(~keep & batch['action_mask']) == 1
  np.testing.assert_array_equal(counted, batch['action_mask'])
  keep, _ = selection.covariance_subset(*arrays, key=KEY, low=first + 1, high=first + 2)
  np.testing.assert_array_equal(keep, batch['action_mask'])


def test_random_tokens_are_as_many_as_wanted_and_follow_the_key():
  batch, case = batch_of(0), RANDOM['random_tokens']
  actions = np.sum(batch['action_mask'])
  draws = np.array([run(case, batch, jax.random.key(i))[0] for i in range(200)])
  assert set(draws.sum((1, 2, 3))) == {np.ceil(0.3 * actions)}
  np.testing.assert_array_equal(draws[3], run(case, batch, jax.random.key(3))[0])
  # Each token in 0.3 of the draws: 200 of them have a standard deviation of 0.032.
  often = draws.mean(0)[batch['action_mask']]
  assert often.mean() == pytest.approx(np.ceil(0.3 * actions) / actions)
  assert np.all(np.abs(often - often.mean()) < 0.15)


def test_equal_rewards_have_a_subset_of_the_right_size():
  # Ties: which samples are kept is a matter of order, how many and how spread they are is not.
  group_ids = jnp.asarray([0] * 9 + [1] * 6 + [2] * 2 + [-1], jnp.int32)
  rewards = jnp.asarray([1, 0, 0, 0, 0, 0, 1, 0, 1] + [0.5] * 6 + [1, 0] + [7], jnp.float32)
  lengths = jnp.full(18, 5.0)
  for rule in ('shortest', 'reward_per_token', 'max_variance'):
    subset = jax.jit(functools.partial(selection.downsample, count=4, rule=rule))
    keep, _ = subset(rewards, lengths, group_ids)
    assert [int(np.sum(keep[group_ids == g])) for g in (0, 1, 2, -1)] == [4, 4, 2, 0]
  chosen = np.asarray(rewards)[np.asarray(keep & (group_ids == 0))]
  assert sorted(chosen) == [0, 0, 1, 1]


def test_advantages_of_a_subset_are_relative_to_the_subset():
  rewards = jnp.asarray([1.0, 0.0, 1.0, 0.0, 0.0, 0.0])
  lengths = jnp.asarray([3.0, 9.0, 5.0, 2.0, 7.0, 8.0])
  group_ids = jnp.zeros(6, jnp.int32)

  @jax.jit
  def advantages_of(rewards):
    shaped = selection.downsampled_rewards(rewards, lengths, group_ids, count=3)
    return advantages.group_normalize(shaped, group_ids, scale='none')

  found = advantages_of(rewards)
  np.testing.assert_allclose(found, [1 / 3, 0, 1 / 3, -2 / 3, 0, 0], atol=1e-6)


def test_golden_filters_of_groups():
  rewards = jnp.asarray([1, 1, 0, 1, 0, 0, 0.2, 0.3, np.nan, 1, 1], jnp.float32)
  groups = jnp.asarray([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, -1], jnp.int32)
  for function, expected in (
    (selection.zero_variance, [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0]),
    (selection.pass_rate_band, [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0]),
    (selection.unanimous_filter, [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0]),
  ):
    keep, _ = function(rewards, groups)
    np.testing.assert_array_equal(keep, expected, err_msg=function.__name__)
    _, counted = function(rewards, groups, denominator='all')
    np.testing.assert_array_equal(counted, [1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0])


# -- thresholds without a sort ---------------------------------------------------------------------


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_order_of_the_bits_is_the_order_of_the_numbers(dtype):
  x = np.array([-np.inf, -1e30, -1.5, -1e-30, -0.0, 0.0, 1e-30, 1.0, np.pi, 3e38, np.inf], dtype)
  with jax.enable_x64(dtype == np.float64):
    keys = np.asarray(order.ordered(jnp.asarray(x)))
  np.testing.assert_array_equal(np.sign(np.diff(keys.astype(object))), np.diff(x) > 0)


def test_kth_largest_is_that_of_a_sort():
  top = jax.jit(lambda x, mask, count: order.top(order.ordered(x), mask, count))
  rng = np.random.default_rng(0)
  for x in (rng.normal(size=41), rng.integers(0, 5, 41) - 2.0, np.full(41, -3.0)):
    mask, x = rng.random(41) < 0.7, x.astype(np.float32)
    for count in (1, 2, 13, int(mask.sum())):
      found = top(x, mask, count)
      np.testing.assert_array_equal(found, mask & (x >= np.sort(x[mask])[-count]))
    assert not np.any(top(x, mask, 0))
    np.testing.assert_array_equal(top(x, mask, 99), mask)
