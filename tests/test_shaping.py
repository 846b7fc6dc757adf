"""Shaped rewards: one line of CASES holds a function to everything that it says."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.shaping import CASES, samples
from reference import shaping as reference

from rljax import shaping
from rljax.binding import bind, signature

BATCH = samples()
USED = BATCH['group_ids'] >= 0
SCORED = USED & np.isfinite(BATCH['rewards'])
APART = {  # tested by themselves
  'adaptive_step_bonus',
  'collective_vote',
  'outcome_bonus',
  'repeated_outcome',
  'running_normalize',
  'spread_filter',
  'think_modes',
}

each_case = pytest.mark.parametrize('case', list(CASES.values()), ids=list(CASES))


def names_of(case):
  return (*signature(case.function).arrays, *case.optional)


def arrays_of(case, dtype=np.float32, **changed):
  arrays = {name: np.asarray(changed.get(name, BATCH[name])) for name in names_of(case)}
  return {
    n: jnp.asarray(x, dtype if np.issubdtype(x.dtype, np.floating) else x.dtype)
    for n, x in arrays.items()
  }


def run(case, arrays, hyper=None):
  found = signature(case.function)
  optional = {name: arrays[name] for name in case.optional}
  given = case.hyper if hyper is None else hyper
  return case.function(*(arrays[name] for name in found.arrays), **optional, **given)


def test_every_shaping_has_a_case():
  public = {n for n in shaping.__all__ if not n.endswith('_init')}
  assert {c.function.__name__ for c in CASES.values()} | APART == public


def test_the_batch_is_what_the_cases_need():
  sizes = collections.Counter(BATCH['group_ids'][SCORED].tolist())
  assert len(sizes) > 1 and max(sizes.values()) > 2
  assert np.isnan(BATCH['rewards']).any() and np.isinf(BATCH['rewards']).any()
  assert len(set(BATCH['rewards'][SCORED])) > 3 and (~USED).any()


@each_case
def test_values_are_those_of_the_formula(case):
  for seed in (3, 8):
    batch = samples(seed)
    with jax.enable_x64(True):
      found = run(case, arrays_of(case, np.float64, **batch))
    assert found.dtype == jnp.float64
    expected = case.reference(**{name: batch[name] for name in names_of(case)})
    used = batch['group_ids'] >= 0
    np.testing.assert_allclose(found[used], expected[used], rtol=1e-9, atol=1e-12)


@each_case
def test_what_is_unscorable_stays_so_and_has_no_influence(case):
  found = run(case, arrays_of(case))
  np.testing.assert_array_equal(found[~np.isfinite(BATCH['rewards'])], [np.nan, np.inf])
  assert np.all(np.isfinite(found[SCORED]))
  alone = np.where(np.isfinite(BATCH['rewards']), BATCH['group_ids'], -1)
  without = run(case, arrays_of(case, group_ids=alone)) if 'group_ids' in names_of(case) else found
  np.testing.assert_array_equal(without[SCORED], found[SCORED])
  for filler in (np.nan, 1e30, -np.inf):
    fill = {
      n: np.where(USED, x, filler)
      for n, x in BATCH.items()
      if x.shape == USED.shape and x.dtype == float
    }
    np.testing.assert_array_equal(run(case, arrays_of(case, **fill))[USED], found[USED])
    if 'group_ids' in names_of(case):  # then what is not used is left as it is
      np.testing.assert_array_equal(
        run(case, arrays_of(case, **fill))[~USED], np.full((~USED).sum(), filler, np.float32)
      )


@each_case
def test_masked_tokens_have_no_influence(case):
  if 'action_mask' not in names_of(case):
    return
  found, mask = run(case, arrays_of(case)), BATCH['action_mask']
  for filler in (np.nan, np.inf, 1e30):
    fill = {n: np.where(mask, BATCH[n], filler) for n in ('old_self_certainty', 'entropy')}
    fill['tokens'] = np.where(mask, BATCH['tokens'], 1).astype(np.int32)
    np.testing.assert_array_equal(run(case, arrays_of(case, **fill)), found)


@each_case
def test_order_of_samples_and_rows_does_not_matter(case):
  order = np.random.default_rng(0).permutation(len(USED))
  by_sample = {n: x[order] for n, x in BATCH.items() if np.shape(x)[:1] == USED.shape}
  place = np.argsort(order)
  ids = BATCH['sample_ids']
  turned = np.where(ids >= 0, place[np.maximum(ids, 0)], -1).astype(np.int32)[:, ::-1]
  by_row = {n: x[:, ::-1] for n, x in BATCH.items() if np.ndim(x) == 3}
  slots = np.full(len(USED), -1, np.int32)
  for slot in np.flatnonzero(turned.reshape(-1) >= 0):
    slots[turned.reshape(-1)[slot]] = slot
  changed = by_sample | by_row | {'sample_ids': turned, 'sample_slots': slots}
  found = run(case, arrays_of(case))
  np.testing.assert_allclose(run(case, arrays_of(case, **changed)), found[order], atol=1e-6)


@each_case
def test_what_it_takes_is_constant(case):
  arrays = arrays_of(case, rewards=np.nan_to_num(BATCH['rewards'], posinf=0.5))
  floats = {n: x for n, x in arrays.items() if x.dtype == jnp.float32}
  gradient = jax.grad(lambda f: jnp.sum(run(case, arrays | f) ** 2))(floats)
  assert 'rewards' in gradient
  assert not any(np.any(g) for g in gradient.values())


@each_case
def test_hyper_parameters_may_be_traced_and_mapped(case):
  hyper = signature(case.function).hyper | case.hyper
  floats = {n: jnp.array([v, v / 2], jnp.float32) for n, v in hyper.items() if type(v) is float}
  arrays = arrays_of(case)
  if floats:
    found = jax.jit(jax.vmap(lambda h: run(case, arrays, case.hyper | h)))(floats)[0]
  else:
    found = jax.jit(lambda a: run(case, a))(arrays)
  np.testing.assert_allclose(found, run(case, arrays), rtol=1e-6, atol=1e-6)


@each_case
def test_half_precision_computes_in_float32(case):
  arrays = arrays_of(case, jnp.bfloat16)
  widened = {
    n: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x for n, x in arrays.items()
  }
  found = run(case, arrays)
  assert found.dtype == jnp.float32
  np.testing.assert_array_equal(found, run(case, widened))


# -- one by one -----------------------------------------------------------------------------------


def test_golden_values_of_overlong_penalty():
  lengths = jnp.array([0.0, 80.0, 90.0, 100.0, 110.0])
  hyper = {'max_length': 100.0, 'buffer': 20.0}
  found = shaping.overlong_penalty(jnp.zeros(5), lengths, **hyper)
  np.testing.assert_allclose(found, [0, 0, -0.5, -1, -1], atol=1e-6)
  found = shaping.overlong_penalty(jnp.zeros(5), lengths, cap=False, factor=2.0, **hyper)
  np.testing.assert_allclose(found, [0, 0, -1, -2, -3], atol=1e-6)


def test_ends_of_the_cosine():
  rewards, lengths = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0]), jnp.array([0, 500, 1500, 0, 1500.0])
  found = shaping.cosine_length(rewards, lengths)
  np.testing.assert_allclose(found, [1, 0.75, 0.5, -1, -0.5], atol=1e-6)


def one_row(rows):
  """Arrays of rows of one sample each, given as lists of tokens; None = not an action token."""
  length, num = max(map(len, rows)), len(rows)
  tokens = np.zeros((num, length), np.int32)
  action, segments = np.zeros((num, length), bool), np.full((num, length), -1, np.int32)
  for r, row in enumerate(rows):
    for t, token in enumerate(row):
      tokens[r, t], action[r, t], segments[r, t] = token or 0, token is not None, 0
  ids = np.arange(num, dtype=np.int32)
  return {
    'rewards': np.zeros(num),
    'tokens': tokens,
    'action_mask': action,
    'segment_ids': segments,
    'sample_ids': ids[:, None],
    'sample_slots': ids,
  }


def test_repetition_of_known_completions():
  rows = [
    [5] * 6,  # 4 times (5, 5, 5)
    [1, 2, 3, 4, 5, 6],  # nothing twice
    [1, 2, 3, 1, 2, 3],  # 123 231 312 123
    [7, 7],  # too short
    [5, 5, 5, None, 5, 5, 5],  # a tool's token between them: 2 times (5, 5, 5)
    [None, 5, 5, 5, 5],
    [None, None],
  ]
  found = shaping.repetition_penalty(*one_row(rows).values())
  np.testing.assert_allclose(found, [-0.75, 0, -0.25, 0, -0.5, -0.5, 0], atol=1e-6)


def test_repetition_is_counted_exactly_in_long_packed_rows():
  rng = np.random.default_rng(0)
  rows, length, num_segments = 2, 200, 3
  segments = np.repeat([0, 1, 2, -1], [90, 60, 40, 10])[None].repeat(rows, axis=0)
  arrays = {
    'rewards': rng.normal(size=rows * num_segments),
    'tokens': rng.integers(0, 4, (rows, length)).astype(np.int32) + 2**30,  # large ids too
    'action_mask': rng.random((rows, length)) < 0.95,
    'segment_ids': segments.astype(np.int32),
    'sample_ids': np.arange(rows * num_segments, dtype=np.int32).reshape(rows, num_segments),
    'sample_slots': np.arange(rows * num_segments, dtype=np.int32),
  }
  for n in (3, 4):
    with jax.enable_x64(True):
      found = jax.jit(lambda a, n=n: shaping.repetition_penalty(**a, n=n))(arrays)
    np.testing.assert_allclose(found, reference.repetition_penalty(**arrays, n=n), atol=1e-12)
    assert np.sum(np.asarray(found) < arrays['rewards']) >= 5


def test_the_row_of_a_sample_without_room_for_an_n_gram():
  batch = one_row([[1], [2]])
  np.testing.assert_array_equal(shaping.repetition_penalty(*batch.values(), n=5), [0, 0])
  with pytest.raises(ValueError, match='n 0'):
    shaping.repetition_penalty(*batch.values(), n=0)


def test_votes():
  groups = jnp.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3], jnp.int32)
  answers = jnp.array([4, 4, 7, -1, 2**30 + 1, 2**30, -1, -1, -1, 5], jnp.int32)
  rewards = jnp.zeros(10)
  found = shaping.majority_vote(rewards, groups, answers)
  # A tie goes to the smaller number, whose neighbour is the same in float32.
  np.testing.assert_array_equal(found, [1, 1, 0, 0, 0, 1, 0, 0, 0, 1])
  found = shaping.vote_share(rewards, groups, answers)
  np.testing.assert_allclose(found, [0.5, 0.5, 0.25, 0, 1 / 3, 1 / 3, 0, 0, 0, 1], atol=1e-6)
  unscorable = shaping.majority_vote(rewards.at[0].set(jnp.nan), groups, answers.at[3].set(7))
  np.testing.assert_array_equal(unscorable[:4], [np.nan, 0, 1, 1])


def test_the_likeliest_right_answer_loses_most():
  rewards, groups = jnp.array([1.0, 1.0, 0.0, 1.0]), jnp.zeros(4, jnp.int32)
  found = shaping.unlikeliness(rewards, groups, jnp.array([-1.0, -9.0, -2.0, -5.0]))
  np.testing.assert_allclose(found, [0.75, 0.9375, 0, 0.875])


def test_length_rewards_of_one_group():
  rewards, groups = jnp.array([1.0, 1.0, 0.0, 0.0]), jnp.zeros(4, jnp.int32)
  lengths = jnp.array([10.0, 30.0, 10.0, 50.0])
  found = shaping.kimi_length(rewards, groups, lengths)
  np.testing.assert_allclose(found, [1.5, 1.0, 0.0, -0.5], atol=1e-6)
  found = shaping.alp(rewards, groups, lengths, beta=0.01)
  np.testing.assert_allclose(found, [0.95, 0.85, -0.05, -0.25], atol=1e-6)
  found = shaping.shorter_better(rewards, groups, lengths, beta=0.01)
  np.testing.assert_allclose(found, [2, 1.8, 0, -0.4], atol=1e-6)
  found = shaping.shorter_better(0 * rewards, groups, lengths, beta=0.01)
  np.testing.assert_allclose(found, [-0.15, -0.05, -0.15, -0.25], atol=1e-6)


# -- what remembers -------------------------------------------------------------------------------


@pytest.mark.parametrize('hyper', [{}, {'center': False, 'epsilon': 0.1}])
def test_running_statistics_are_those_of_all_rewards(hyper):
  rng, groups = np.random.default_rng(1), jnp.array([0, 1, 1, -1, 2, 2], jnp.int32)
  bound = bind({'name': 'shaping.running_normalize', **hyper})
  state, seen = bound.first_state(), []
  step = jax.jit(lambda r, s: shaping.running_normalize(r, groups, state=s, **hyper))
  for _ in range(4):
    rewards = 100 + rng.normal(size=6)
    rewards[1], rewards[3] = np.nan, 1e30
    found, state = step(jnp.asarray(rewards, jnp.float32), state)
    expected, seen = reference.running_normalize(rewards, groups, state=seen, **hyper)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
  assert state['count'] == len(seen) == 16
  assert state['mean'] == pytest.approx(np.mean(seen), rel=1e-6)


@pytest.mark.parametrize('value', [0.1, -7.3, 1e4 + 0.1])
def test_rewards_that_are_all_equal_are_not_blown_up(value):
  groups, state = jnp.zeros(7, jnp.int32), shaping.running_normalize_init()
  for _ in range(3):
    found, state = shaping.running_normalize(jnp.full(7, value), groups, state=state)
    np.testing.assert_allclose(found, 0, atol=2e-3)


def test_a_batch_without_rewards_changes_no_statistics():
  state = {'count': jnp.float32(3), 'mean': jnp.float32(0.5), 'squares': jnp.float32(2)}
  for rewards, groups in ((jnp.full(3, jnp.nan), 0), (jnp.ones(3), -1)):
    found, after = shaping.running_normalize(
      rewards, jnp.full(3, groups, jnp.int32), state=state
    )
    np.testing.assert_array_equal(found, rewards)
    jax.tree.map(np.testing.assert_array_equal, after, state)
