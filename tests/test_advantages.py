"""Advantages of samples: one line of CASES holds a function to everything that it says."""

import functools

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.advantages import CASES, GROUPS, NUM_PROMPTS, STATES, USED, samples

from rljax import advantages
from rljax.binding import bind, signature

ARRAYS = samples()
SCOPES = ('sequence', 'group', 'batch')
KEY = jax.random.key(3)

each_case = pytest.mark.parametrize('case', list(CASES.values()), ids=list(CASES))
each_function = cases.by_function(CASES)


def names_of(case):
  return (*signature(case.function).arrays, *case.optional)


def cast(tree, dtype=np.float32):
  def one(x):
    x = np.asarray(x)
    return jnp.asarray(x, dtype) if np.issubdtype(x.dtype, np.floating) else jnp.asarray(x)

  return jax.tree.map(one, tree)


def arrays_of(case, dtype=np.float32, **changed):
  return {name: cast(changed.get(name, ARRAYS[name]), dtype) for name in names_of(case)}


def run(case, arrays, hyper=None, dtype=np.float32):
  """The advantages, of a function that remembers too."""
  found = signature(case.function)
  given = case.hyper if hyper is None else hyper
  if 'state' in found.reserved:
    given = {**given, 'state': cast(STATES[case.function.__name__], dtype)}
  given = given | drawn(case)
  optional = {name: arrays[name] for name in case.optional}
  result = case.function(*(arrays[name] for name in found.arrays), **optional, **given)
  return result[0] if 'state' in found.reserved else result


def drawn(case):
  return {'key': KEY} if 'key' in signature(case.function).reserved else {}


def expect(case, **changed):
  arrays = {name: changed.get(name, ARRAYS[name]) for name in names_of(case)}
  remembers = 'state' in signature(case.function).reserved
  state = {'state': STATES[case.function.__name__]} if remembers else {}
  result = case.reference(**arrays, **state, **drawn(case))
  return result[0] if remembers else result


def changed_rewards(change):
  """`rewards` and each of `reward_components`, changed."""
  return {
    'rewards': change(ARRAYS['rewards']),
    'reward_components': {n: change(x) for n, x in ARRAYS['reward_components'].items()},
  }


def by_group(x, group=2):
  return np.asarray(x)[GROUPS == group]


def test_every_estimator_of_samples_has_a_case():
  public = [getattr(advantages, n) for n in advantages.__all__ if not n.endswith('_init')]
  assert all(hasattr(function, 'declared') for function in public)
  of_samples = {f.__name__ for f in public if f.declared.denominator == 'samples'}
  assert {case.function.__name__ for case in CASES.values()} == of_samples


@each_case
def test_values_are_those_of_the_formula(case):
  for place in (None, 5):
    rewards = np.where(np.arange(len(GROUPS)) == place, np.nan, ARRAYS['rewards'])
    with jax.enable_x64(True):
      arrays = arrays_of(case, np.float64, rewards=rewards)
      found = run(case, arrays, dtype=np.float64)
      assert found.dtype == jnp.float64
      np.testing.assert_allclose(found, expect(case, rewards=rewards), rtol=1e-9, atol=1e-12)


@each_function
def test_declared_traits_hold_and_others_do_not(case):
  def under(**changed):
    return np.asarray(run(case, arrays_of(case, np.float64, **changed), dtype=np.float64))

  with jax.enable_x64(True):
    found = under()
    shifted = under(**changed_rewards(lambda x: x + np.where(GROUPS == 2, 0.7, 0)))
    scaled = under(**changed_rewards(lambda x: 3 * x))
  alone = np.concatenate([by_group(found, 1), by_group(found, 3)])
  observed = {
    'shift_invariant': np.allclose(shifted, found, atol=1e-9),
    'scale_invariant': np.allclose(scaled, found, rtol=2e-3, atol=1e-4),  # up to epsilon
    'zero_mean_in_group': all(abs(by_group(found, g).sum()) < 1e-9 for g in range(6)),
    'group_relative': not np.any(alone),
  }
  expected = case.function.declared.traits if case.traits is None else case.traits
  assert {name for name, holds in observed.items() if holds} == set(expected)


@each_function
def test_what_it_couples(case):
  places = np.repeat(np.flatnonzero(USED), 2)
  steps = np.zeros((1 + len(places), len(GROUPS)))  # the first one changes nothing
  steps[1 + np.arange(len(places)), places] = np.tile([0.4, -0.9], len(places) // 2)
  change = changed_rewards(lambda x: x + steps)
  mapped = {n: cast(change[n]) for n in names_of(case) if n in change}
  rest = {n: x for n, x in arrays_of(case).items() if n not in mapped}
  found = np.asarray(jax.vmap(lambda m: run(case, {**rest, **m}))(mapped))
  widest = 0
  for place, moved in zip(places, np.abs(found[1:] - found[0]) > 1e-6, strict=True):
    moved, group = set(np.flatnonzero(moved)), set(np.flatnonzero(GROUPS == GROUPS[place]))
    widest = max(widest, 2 if moved - group else 1 if moved - {place} else 0)
  assert SCOPES[widest] == (case.couples or case.function.declared.couples)


@each_function
def test_unused_and_unscorable_samples_have_no_influence(case):
  found = run(case, arrays_of(case))
  assert not np.any(np.asarray(found)[~USED])
  for filler in (np.nan, 1e30, np.inf):
    fill = {
      name: jax.tree.map(lambda x, f=filler: np.where(USED, x, f), x)
      for name, x in ARRAYS.items()
      if name == 'reward_components' or x.dtype == float
    }
    np.testing.assert_array_equal(run(case, arrays_of(case, **fill)), found)
  here = np.arange(len(GROUPS)) == 5
  without = run(case, arrays_of(case, group_ids=np.where(here, -1, GROUPS)))
  for filler in (np.nan, np.inf, -np.inf):
    left = run(case, arrays_of(case, rewards=np.where(here, filler, ARRAYS['rewards'])))
    np.testing.assert_array_equal(left, without)
    assert left[5] == 0 and np.all(np.isfinite(left))


@each_function
def test_order_of_samples_does_not_matter(case):
  if drawn(case):
    return  # a draw is of places
  order = np.random.default_rng(0).permutation(len(GROUPS))
  found = run(case, arrays_of(case))
  turned = run(case, jax.tree.map(lambda x: x[order], arrays_of(case)))
  np.testing.assert_allclose(turned, found[order], atol=2e-6)


@each_function
def test_what_it_takes_is_constant(case):
  arrays = arrays_of(case)

  def loss(floats):
    return jnp.sum(run(case, {**arrays, **floats}) ** 2)

  floats = {
    name: x
    for name, x in arrays.items()
    if all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(x))
  }
  assert 'rewards' in floats
  assert not any(np.any(g) for g in jax.tree.leaves(jax.grad(loss)(floats)))


@each_function
def test_hyper_parameters_may_be_traced_and_mapped(case):
  hyper = signature(case.function).hyper | case.hyper
  floats = {n: jnp.array([v, v / 2], jnp.float32) for n, v in hyper.items() if type(v) is float}
  arrays = arrays_of(case)
  if not floats:
    found = jax.jit(lambda a: run(case, a))(arrays)
  else:
    found = jax.jit(jax.vmap(lambda h: run(case, arrays, case.hyper | h)))(floats)[0]
  np.testing.assert_allclose(found, run(case, arrays), rtol=1e-6, atol=1e-6)


@each_function
def test_half_precision_computes_in_float32(case):
  arrays = arrays_of(case, jnp.bfloat16)
  found = run(case, arrays)
  assert found.dtype == jnp.float32
  widened = jax.tree.map(
    lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, arrays
  )
  np.testing.assert_array_equal(found, run(case, widened))


@pytest.mark.parametrize('value', [0.1, 1 / 3, 1e6 + 0.1, -7.3])
def test_equal_rewards_give_exactly_zero(value):
  # 7 times 1/3 has a mean that is not 1/3 in float32.
  equal = changed_rewards(lambda x: np.full_like(x, value))
  for name, case in CASES.items():
    traits = case.function.declared.traits if case.traits is None else case.traits
    if 'group_relative' in traits or name in ('whitened', 'batch_mean'):
      assert not np.any(run(case, arrays_of(case, **equal))), name


# -- golden values, evaluated independently -------------------------------------------------------


def test_golden_values():
  # R = [1, 0, 0, 1 | ½ × 4].
  rewards = jnp.array([1, 0, 0, 1, 0.5, 0.5, 0.5, 0.5], jnp.float32)
  groups = jnp.array([0] * 4 + [1] * 4, jnp.int32)
  sign = np.array([1, -1, -1, 1, 0, 0, 0, 0])
  run = advantages.group_normalize
  for found, size in (
    (run(rewards, groups), 0.866024),
    (run(rewards, groups, epsilon=1e-4), 0.865875),
    (run(rewards, groups, scale='none'), 0.5),
    (run(rewards, groups, scale='batch', epsilon=1e-4), 1.322526),
    (advantages.leave_one_out(rewards, groups), 0.666667),
    (advantages.max_rl(rewards, groups), 1.0),
    (advantages.gpg(rewards, groups), 1.0),
    (advantages.gpg(rewards, groups, alpha='nonzero_rewards'), 0.666667),
  ):
    np.testing.assert_allclose(found, size * sign, atol=1e-6)
  lengths = jnp.array([3, 5, 2, 6, 3, 3, 3, 3], jnp.float32)
  found = advantages.length_weighted_baseline(rewards, groups, lengths)
  np.testing.assert_allclose(found, [0.4375, -0.5625, -0.5625, 0.4375, 0, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
  'function, hyper, right, wrong',
  [
    (advantages.pkpo, {'k': 2, 'baseline': 'none'}, 2.0, 0.571429),
    (advantages.pkpo, {'k': 4, 'baseline': 'none'}, 4.0, 4 * (1 - 10 / 35)),  # C(5, 3), C(7, 3)
    (advantages.pass_at_k, {'k': 2}, 1.074172, -0.358057),
    (advantages.pass_at_k, {'k': 3}, 0.745356, -0.248452),
    (advantages.signs, {}, 0.1, -1.0),
    (advantages.quantile_baseline, {'scale': 'none'}, 1.0, 0.0),  # pass rate ¼ ≤ 1 − 0.4
    (advantages.quantile_baseline, {'scale': 'none', 'quantile': 0.8}, 0.0, -1.0),
  ],
)
def test_golden_values_of_two_right_answers_of_eight(function, hyper, right, wrong):
  rewards = jnp.array([1, 0, 0, 1, 0, 0, 0, 0], jnp.float32)
  found = function(rewards, jnp.zeros(8, jnp.int32), **hyper)
  np.testing.assert_allclose(found, np.where(rewards > 0, right, wrong), atol=1e-6)


# -- exact expected gradients, by enumeration -----------------------------------------------------


@functools.lru_cache
def outcomes(size, values=(0.0, 1.0)):
  """All samples of a group: rewards [·] in groups of `size`, group_ids, index of each value."""
  grid = np.indices((len(values),) * size).reshape(size, -1).T
  groups = np.repeat(np.arange(len(grid), dtype=np.int32), size)
  return np.array(values)[grid].reshape(-1), groups, grid


def expected_gradient(function, size, chances, values=(0.0, 1.0), **hyper):
  """E[mean over the group of A·∇ log π] by the logits of a softmax over `values`, exactly."""
  rewards, groups, grid = outcomes(size, values)
  with jax.enable_x64(True):
    found = np.asarray(compiled(function, **hyper)(rewards, groups))
  weight = np.prod(np.array(chances)[grid], axis=1)
  scores = np.eye(len(chances))[grid] - np.array(chances)  # ∇ log π of each sample
  mean = np.mean(found.reshape(-1, size)[..., None] * scores, axis=1)
  return np.sum(weight[:, None] * mean, axis=0)


@functools.lru_cache
def compiled(function, **hyper):
  return jax.jit(functools.partial(function, **hyper))


def maximum_gradient(size, chances, values):
  """∇E[max of `size`] by the logits: derivative of Σ over outcomes, in numpy."""
  _, _, grid = outcomes(size, tuple(values))
  chances = np.array(chances)
  weight = np.prod(chances[grid], axis=1)
  best = np.array(values)[grid].max(axis=1)
  scores = (np.eye(len(chances))[grid] - chances).sum(axis=1)
  return np.sum((weight * best)[:, None] * scores, axis=0)


def along_right(gradient, chance):
  """A gradient by the two logits as one by the chance of a right answer: ∂p/∂logit = p(1 − p)."""
  np.testing.assert_allclose(gradient[0], -gradient[1], atol=1e-14)
  return gradient[1] / (chance * (1 - chance))


@pytest.mark.parametrize('baseline', ['none', 'loo', 'loo_minus_one'])
@pytest.mark.parametrize('k', [1, 2, 3, 5])
def test_pkpo_is_unbiased_for_the_gradient_of_pass_at_k(k, baseline):
  if baseline == 'loo' and k == 5:
    k = 4  # it needs k others
  for chance in (0.1, 0.6):
    found = expected_gradient(
      advantages.pkpo, 5, (1 - chance, chance), k=k, baseline=baseline
    )
    assert along_right(found, chance) == pytest.approx(k * (1 - chance) ** (k - 1), abs=1e-12)


@pytest.mark.parametrize('baseline', ['none', 'loo', 'loo_minus_one'])
def test_pkpo_is_unbiased_for_graded_rewards(baseline):
  chances, values = (0.5, 0.2, 0.3), (-0.4, 0.3, 1.1)
  for k in (1, 2, 3):
    found = expected_gradient(advantages.pkpo, 4, chances, values, k=k, baseline=baseline)
    np.testing.assert_allclose(found, maximum_gradient(k, chances, values), atol=1e-12)


def test_best_of_is_the_gradient_of_the_maximum_over_g():
  chances, values = (0.5, 0.2, 0.3), (-0.4, 0.3, 1.1)
  for size in (2, 4):
    found = expected_gradient(advantages.best_of, size, chances, values)
    np.testing.assert_allclose(found, maximum_gradient(size, chances, values) / size, atol=1e-12)


@pytest.mark.parametrize('k', [1, 2, 3, 4, 5])
def test_pass_at_k_without_std_vanishes_at_g(k):
  for chance in (0.1, 0.6):
    found = expected_gradient(
      advantages.pass_at_k, 5, (1 - chance, chance), k=k, scale='none'
    )
    expected = k * (1 - chance) ** (k - 1) * (5 - k) / (5 * k)
    assert along_right(found, chance) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('all_wrong, order', [(0.0, 4), (-1.0, 5)])
def test_max_rl_is_the_series_of_the_likelihood(all_wrong, order):
  for chance in (0.1, 0.6):
    found = expected_gradient(
      advantages.max_rl, 5, (1 - chance, chance), all_wrong=all_wrong
    )
    expected = sum((1 - chance) ** (j - 1) for j in range(1, order + 1))
    assert along_right(found, chance) == pytest.approx(expected, abs=1e-12)


def test_baselines_that_use_the_others_only_leave_policy_gradient_unbiased():
  chances, values = (0.5, 0.2, 0.3), (-0.4, 0.3, 1.1)
  expected = maximum_gradient(1, chances, values)
  found = expected_gradient(advantages.leave_one_out, 4, chances, values)
  np.testing.assert_allclose(found, expected, atol=1e-12)
  # A mean that includes the sample shrinks it by (G − 1) / G.
  found = expected_gradient(advantages.group_normalize, 4, chances, values, scale='none')
  np.testing.assert_allclose(found, 0.75 * expected, atol=1e-12)


# -- one by one -----------------------------------------------------------------------------------


@pytest.mark.parametrize('baseline', ['none', 'loo_minus_one'])
def test_pkpo_of_many_samples_stays_precise_in_float32(baseline):
  rewards, groups = (np.arange(1024) % 64 == 0).astype(float), np.zeros(1024, np.int32)
  run = compiled(advantages.pkpo, k=16, baseline=baseline)
  found = run(jnp.asarray(rewards, jnp.float32), groups)
  assert found.dtype == jnp.float32
  with jax.enable_x64(True):
    exact = run(rewards, groups)
  np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)


def test_a_group_too_small_for_k():
  rewards, groups = jnp.array([1.0, 0.0, 0.0]), jnp.zeros(3, jnp.int32)
  assert not np.any(advantages.pass_at_k(rewards, groups, k=3))
  assert np.any(advantages.pass_at_k(rewards, groups, k=2))
  for baseline, most in (('none', 3), ('loo', 2), ('loo_minus_one', 3)):
    found = advantages.pkpo(rewards, groups, k=7, baseline=baseline)
    np.testing.assert_array_equal(
      found, advantages.pkpo(rewards, groups, k=most, baseline=baseline)
    )
    assert np.any(found)


def test_winners_of_a_tie_get_nothing():
  rewards = jnp.array([1.0, 1.0, 0.0, 2.0, 0.5, 0.0])
  found = advantages.best_of(rewards, jnp.array([0, 0, 0, 1, 1, 1], jnp.int32))
  np.testing.assert_allclose(found, [0, 0, 0, 1.5, 0, 0])


def test_optimal_value_lies_between_mean_and_maximum():
  rewards, groups = jnp.array([0.0, 0.2, 1.0, 0.4]), jnp.zeros(4, jnp.int32)
  sharp = advantages.optimal_value(rewards, groups, beta=1e-3)
  np.testing.assert_allclose(sharp, rewards - 1.0, atol=2e-3)
  flat = advantages.optimal_value(rewards, groups, beta=1e3)
  np.testing.assert_allclose(flat, rewards - 0.4, atol=1e-3)
  assert jnp.mean(advantages.optimal_value(rewards, groups)) < 0


@pytest.mark.parametrize('name', ['baseline_rewards', 'optimal_values'])
def test_a_prompt_without_a_baseline_gets_nothing(name):
  given = jnp.array([0.3, jnp.nan, jnp.inf])
  function = {
    'baseline_rewards': advantages.greedy_baseline,
    'optimal_values': advantages.optimal_value,
  }[name]
  found = function(jnp.ones(3), jnp.arange(3, dtype=jnp.int32), given)
  np.testing.assert_allclose(found, [0.7, 0, 0], atol=1e-7)


def test_a_component_that_is_missing_leaves_its_own_statistics_only():
  rewards, groups = jnp.zeros(4), jnp.zeros(4, jnp.int32)
  a, b = jnp.array([1.0, 0.0, 1.0, jnp.nan]), jnp.array([0.0, 1.0, 2.0, 3.0])
  found = advantages.multi_reward(rewards, groups, {'a': a, 'b': b}, whiten=False)
  of_a = advantages.group_normalize(a, groups)
  assert of_a[3] == 0 and np.all(of_a[:3] != 0)
  np.testing.assert_allclose(found, of_a + advantages.group_normalize(b, groups), rtol=1e-6)


def test_components_with_one_sum_stay_different():
  # GRPO of the sum sees [1, 1, 0, 2]: nothing tells the first two from each other.
  groups = jnp.zeros(4, jnp.int32)
  a, b = jnp.array([1.0, 0.0, 0.0, 1.0]), jnp.array([0.0, 1.0, 0.0, 1.0]) * 1e-3
  found = advantages.multi_reward(a + b, groups, {'a': a, 'b': b})
  np.testing.assert_allclose(found[0], found[1], atol=0.01)  # the scale of b has no part
  assert advantages.group_normalize(a + b, groups)[1] < -0.8


def test_weights_bind_as_pairs_and_unknown_components_are_errors():
  node = {'name': 'advantages.multi_reward', 'weights': (('a', 2.0),)}
  bound = bind(node, ('rewards', 'group_ids', 'reward_components'))
  assert bound.static['weights'] == (('a', 2.0),)
  arrays = (jnp.zeros(2), jnp.zeros(2, jnp.int32), {'a': jnp.zeros(2)})
  with pytest.raises(ValueError, match=r"no component \['b'\]; there are a"):
    advantages.multi_reward(*arrays, weights=(('b', 1.0),))
  with pytest.raises(ValueError, match='no component'):
    advantages.multi_reward(*arrays[:2], {})


def test_external_samples_count_in_the_statistics_of_their_group():
  # LUFFY: own samples and those of another policy are one group, whatever `is_external` says.
  own, external = [0.0, 0.0, 0.0], [1.0]
  groups = jnp.zeros(4, jnp.int32)
  union = advantages.group_normalize(jnp.array(own + external), groups)
  np.testing.assert_allclose(union, [-0.5, -0.5, -0.5, 1.5], atol=1e-5)
  assert not np.any(advantages.group_normalize(jnp.array(own), groups[:3]))
  assert 'is_external' not in signature(advantages.group_normalize).arrays


@pytest.mark.parametrize(
  'case', [CASES['rae'], CASES['rae, slower'], CASES['spo'], CASES['spo, not whitened']]
)
def test_what_is_remembered(case):
  name = case.function.__name__
  for rewards in (ARRAYS['rewards'], np.where(GROUPS == 2, np.nan, ARRAYS['rewards'])):
    arrays = arrays_of(case, rewards=rewards)
    _, found = case.function(*arrays.values(), state=cast(STATES[name]), **case.hyper)
    numbers = {n: ARRAYS[n] for n in names_of(case)} | {'rewards': rewards}
    _, expected = case.reference(**numbers, state=STATES[name])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
    # What was not seen stays bit-equal.
    if name == 'single_stream':
      seen = {int(p) for p, r in zip(ARRAYS['prompt_ids'], rewards) if np.isfinite(r)}
      unseen = sorted(set(range(NUM_PROMPTS)) - {*seen})
      assert unseen
      kept = cast(STATES[name])['right'][jnp.array(unseen)]
      np.testing.assert_array_equal(found['right'][jnp.array(unseen)], kept)


def test_first_states_fit_their_functions():
  node = {'name': 'advantages.role_baseline', 'num_roles': 3}
  state = bind(node).first_state()
  assert state.shape == (3,) and not np.any(state)
  zeros = jnp.zeros(2, jnp.int32)
  found, _ = advantages.role_baseline(
    jnp.ones(2), zeros, jnp.array([2, 3], jnp.int32), state=state, num_roles=3
  )
  np.testing.assert_array_equal(found, [1, 0])  # there is no role 3
  state = bind({'name': 'advantages.single_stream', 'num_prompts': 5}).first_state()
  found, state = advantages.single_stream(
    jnp.ones(2), zeros, jnp.array([4, 5], jnp.int32), state=state, num_prompts=5, normalize=False
  )
  np.testing.assert_array_equal(found, [0.5, 0])  # there is no prompt 5
  np.testing.assert_allclose(state['right'], [4, 4, 4, 4, 4.6], rtol=1e-6)
  np.testing.assert_allclose(state['wrong'], [4, 4, 4, 4, 3.6], rtol=1e-6)


def test_a_tracked_success_rate_converges():
  state, step = advantages.single_stream_init(num_prompts=2), jnp.arange(2, dtype=jnp.int32)
  for _ in range(60):
    found, state = advantages.single_stream(
      jnp.array([1.0, 0.0]), step, step, state=state, num_prompts=2, normalize=False
    )
  np.testing.assert_allclose(found, [0, 0], atol=2e-3)


@pytest.mark.parametrize(
  'name, hyper, match',
  [
    ('group_normalize', {'scale': 'grop'}, "scale 'grop'"),
    ('gpg', {'alpha': 'valid'}, "alpha 'valid'"),
    ('best_of', {'scale': 'batch'}, "scale 'batch'"),
    ('pkpo', {'k': 0}, 'k 0'),
    ('pkpo', {'baseline': 'mean'}, "'mean'"),
    ('pass_at_k', {'k': 0}, 'k 0'),
    ('pass_at_k', {'scale': 'batch'}, "'batch'"),
    ('quantile_baseline', {'scale': 'batch'}, "scale 'batch'"),
  ],
)
def test_unknown_options_are_errors(name, hyper, match):
  with pytest.raises(ValueError, match=match):
    getattr(advantages, name)(jnp.zeros(2), jnp.zeros(2, jnp.int32), **hyper)
