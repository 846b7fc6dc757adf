"""Preference objectives and reward models: one line of CASES holds a function to what it says."""

import functools
import itertools
import re
import types

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_updates
from cases.preference import CASES, OTHERS
from reference import batches
from reference import preference as reference
from rollouts import random_rollout

from rljax import loss_pass, losses, masking
from rljax.binding import signature
from rljax.data.packing import make_layout, pack
from rljax.losses import preference, reward_models
from rljax.losses.preference import pairs as pairing
from rljax.stages import ranked

DIFFERENTIATED = ('sequence_logprobs', 'scores', 'sequence_forward_kl', 'logprobs', 'token_scores')
TRAITS = ('shift_invariant', 'scale_invariant', 'group_relative')
# 0, 1 pairs; 2, 3 lists; 4 of equal rewards; 5 alone; 6, 7 with an unscorable sample; −1 unused.
GROUPS = [1, 0, 3, -1, 2, 0, 3, 1, 4, 5, 3, 2, 4, 6, -1, 6, 3, 2, 7, 7, 6, 3, 7, -1, 8, 8]
EQUAL, ALONE, UNSCORABLE = 4, 5, (15, 18)


def sample_batch():
  """The [N] arrays."""
  rng, n = np.random.default_rng(3), len(GROUPS)
  length = rng.integers(2, 9, n).astype(np.float64)
  out = {
    'group_ids': np.array(GROUPS, np.int32),
    'completion_length': length,
    'rewards': rng.normal(size=n),
    'sequence_logprobs': -length * rng.uniform(0.1, 1.6, n),
    'sequence_forward_kl': rng.uniform(0, 2, n),
    'is_external': rng.random(n) < 0.5,
    'is_mismatched': rng.random(n) < 0.3,
    'margins': rng.normal(size=n),
    'scores': rng.normal(size=n),
  }
  out['sequence_ref_logprobs'] = out['sequence_logprobs'] + rng.normal(0, 1.5, n) - 0.5
  out['rewards'][out['group_ids'] == EQUAL] = 0.7
  out['rewards'][list(UNSCORABLE)] = np.nan
  return out


def step_batch():
  """Rows of several samples with labelled steps, for process reward models."""
  rng = np.random.default_rng(4)
  segments = np.full((3, 14), -1, np.int32)
  for row, first, end, index in ((0, 0, 6, 0), (0, 6, 13, 1), (1, 0, 14, 0), (2, 0, 5, 0)):
    segments[row, first:end] = index
  labels = rng.choice([-100, -1, 0, 1], segments.shape).astype(np.int32)
  return {
    'segment_ids': segments,
    'step_labels': labels,
    'token_scores': rng.normal(size=segments.shape),
  }


SAMPLES, PACKED, STEPS = sample_batch(), batches.packed(1), step_batch()
PACKED['sequence_weights'] = np.random.default_rng(6).uniform(0.3, 1.2, PACKED['rewards'].shape)

FIRST = {}  # case of each function: what hyper-parameters cannot change is tested on it
for _name, _case in CASES.items():
  FIRST.setdefault(_case.function.__name__, _case)
OF_SAMPLES = {n: c for n, c in FIRST.items() if 'group_ids' in signature(c.function).arrays}


def each(cases):
  return pytest.mark.parametrize('case', list(cases.values()), ids=list(cases))


def names_of(case):
  return (*signature(case.function).arrays, *case.optional)


def batch_of(case):
  names = names_of(case)
  return STEPS if 'step_labels' in names else PACKED if 'logprobs' in names else SAMPLES


def arrays_of(case):
  batch = batch_of(case)
  return {name: jnp.asarray(batch[name]) for name in names_of(case)}


def run(case, arrays, hyper=None):
  optional = {name: arrays[name] for name in case.optional}
  hyper = case.hyper if hyper is None else hyper
  ordered = (arrays[name] for name in signature(case.function).arrays)
  return case.function(*ordered, **optional, **hyper)


def floats(arrays, dtype=None):
  kept = {n: x for n, x in arrays.items() if jnp.issubdtype(x.dtype, jnp.floating)}
  return {n: x if dtype is None else x.astype(dtype) for n, x in kept.items()}


def value_and_gradient(case, arrays, cotangent):
  def total(x):
    return masking.weighted_sum(run(case, {**arrays, **x})[0], cotangent)

  return jax.value_and_grad(total)(floats(arrays))


COMPILED = {}  # once for all tests


def step_of(case):
  if id(case) not in COMPILED:
    COMPILED[id(case)] = jax.jit(functools.partial(value_and_gradient, case))
  return COMPILED[id(case)]


def by_group(loss, group_ids=SAMPLES['group_ids']):
  """Σ of the losses of each group: where inside a group a loss stands does not count."""
  return np.array([np.sum(np.asarray(loss)[group_ids == g]) for g in range(max(group_ids) + 1)])


def test_every_objective_has_a_case():
  public = {*preference.__all__, 'bradley_terry', 'implicit_prm_loss', 'step_cross_entropy'}
  assert public - OTHERS == {case.function.__name__ for case in CASES.values()}
  assert public <= {*losses.__all__}
  assert all(hasattr(case.function, 'declared') for case in CASES.values())
  assert not [n for n in dir(reward_models) if n.endswith('_loss') and n not in public]


@each(CASES)
def test_values_and_gradients_are_those_of_the_formula(case):
  batch = batch_of(case)
  numbers = {name: batch[name] for name in names_of(case)}
  with jax.enable_x64(True):
    arrays = arrays_of(case)
    loss, diagnostics = run(case, arrays)
    cotangent = np.random.default_rng(2).uniform(0.5, 1.5, loss.shape)
    _, gradient = value_and_gradient(case, arrays, jnp.asarray(cotangent))
  assert loss.dtype == jnp.float64
  assert all(x.shape == loss.shape for x in diagnostics.values())
  expected = case.reference(numbers, **case.hyper)
  assert np.count_nonzero(expected) >= 2
  np.testing.assert_allclose(loss, expected.real, rtol=1e-11, atol=1e-12)
  own = [name for name in DIFFERENTIATED if name in numbers]
  slopes = reference.gradient(case.reference, numbers, cotangent, own, **case.hyper)
  for name, value in gradient.items():
    expected = slopes.get(name, np.zeros(value.shape))  # all others are constants
    np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-12, err_msg=name)


@cases.by_function(CASES)
def test_unused_entries_have_no_influence(case):
  arrays = arrays_of(case)
  if 'step_labels' in arrays:
    used = (arrays['step_labels'] >= 0) & (arrays['segment_ids'] >= 0)
  elif 'logprobs' in arrays:
    used = arrays['action_mask']
  else:
    used = arrays['group_ids'] >= 0
  step = step_of(case)
  cotangent = jnp.ones(run(case, arrays)[0].shape)
  expected = step(arrays, cotangent)
  for filler in (np.nan, np.inf, 1e30):
    dirty = {
      n: jnp.where(used, x, filler) for n, x in floats(arrays).items() if x.shape == used.shape
    }
    jax.tree.map(np.testing.assert_array_equal, step(arrays | dirty, cotangent), expected)
  for name, gradient in expected[1].items():
    assert np.all(np.isfinite(gradient)), name
    assert gradient.shape != used.shape or not np.any(np.asarray(gradient)[~np.asarray(used)])


@each(OF_SAMPLES)
def test_an_unscorable_sample_is_as_if_it_were_not_there(case):
  arrays = arrays_of(case)
  lost = 2 if 'logprobs' in arrays else UNSCORABLE[0]
  arrays['rewards'] = arrays['rewards'].at[lost].set(jnp.nan)
  if 'is_mismatched' in arrays:
    arrays['is_mismatched'] = arrays['is_mismatched'].at[lost].set(False)  # those are not scored
  without = arrays | {'group_ids': arrays['group_ids'].at[lost].set(-1)}
  for found, expected in zip(*(jax.tree.leaves(run(case, a)) for a in (arrays, without))):
    np.testing.assert_array_equal(found, expected)
    assert np.all(np.isfinite(found)) and found[lost] == 0


@each(OF_SAMPLES)
def test_the_order_of_samples_does_not_matter(case):
  if 'logprobs' in names_of(case):
    return
  order = np.random.default_rng(0).permutation(len(GROUPS))
  arrays = arrays_of(case)
  loss = by_group(run(case, arrays)[0])
  found = run(case, {n: x[order] for n, x in arrays.items()})[0]
  np.testing.assert_allclose(
    by_group(found, SAMPLES['group_ids'][order]), loss, rtol=1e-5, atol=1e-6
  )


@each(OF_SAMPLES)
def test_declared_traits_hold_and_others_do_not(case):
  arrays = arrays_of(case)
  groups, rewards = np.asarray(arrays['group_ids']), arrays['rewards']
  some = np.bincount(groups[groups >= 0]).argmax()

  def loss(rewards):
    return np.asarray(run(case, arrays | {'rewards': rewards})[0])

  shifts = [rewards + jnp.where(groups == some, c, 0) for c in (0.7, -5.0, 5.0)]
  equal = loss(jnp.where(groups == some, 0.7, rewards))
  observed = {
    'shift_invariant': all(np.allclose(loss(r), loss(rewards), atol=1e-5) for r in shifts),
    'scale_invariant': np.allclose(loss(3 * rewards), loss(rewards), atol=1e-5),
    'group_relative': not np.any(equal[groups == some]) and not np.any(equal[groups == ALONE]),
  }
  declared = case.function.declared.traits
  assert {name for name in TRAITS if observed[name]} == set(declared)


@each(OF_SAMPLES)
def test_what_it_couples(case):
  arrays = arrays_of(case)
  groups, slots = np.asarray(arrays['group_ids']), PACKED['sample_slots']
  used = [i for i in np.flatnonzero(groups >= 0) if 'logprobs' not in arrays or slots[i] >= 0]

  def touched(name, i):
    if arrays[name].ndim == 1:
      return np.arange(len(groups)) == i
    *row, place = np.unravel_index(slots[i], PACKED['sample_ids'].shape)
    touched = np.zeros(arrays[name].shape, bool)
    touched[*row] = PACKED['segment_ids'][*row] == place
    return touched

  moving = floats(arrays)
  stacks = {
    n: jnp.stack([jnp.where(touched(n, i), x + 0.25 + 0.2 * k, x) for i in used])
    for k, (n, x) in enumerate(moving.items())
  }
  found = jax.jit(jax.vmap(lambda x: run(case, {**arrays, **x})[0]))(stacks)
  changed = np.abs(np.asarray(found) - np.asarray(run(case, arrays)[0])) > 1e-6
  widest = set()
  for i, row in zip(used, changed):
    others = set(np.flatnonzero(row)) - {i}
    outside = [j for j in others if groups[j] != groups[i]]
    widest.add('batch' if outside else 'group' if others else 'sequence')
  scopes = ('sequence', 'group', 'batch')
  assert max(widest, key=scopes.index) == case.function.declared.couples


@cases.by_function(CASES)
def test_hyper_parameters_may_be_traced_and_mapped(case):
  hyper = signature(case.function).hyper | case.hyper
  traced = {n: v for n, v in hyper.items() if isinstance(v, float)}
  if not traced:
    return
  arrays = arrays_of(case)
  expected = run(case, arrays)[0]
  two = {n: jnp.array([v, 1.3 * v], jnp.float32) for n, v in traced.items()}
  found = jax.jit(jax.vmap(lambda h: run(case, arrays, case.hyper | h)[0]))(two)
  np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)
  assert not np.allclose(found[1], expected, rtol=1e-3)


@each(FIRST)
def test_bfloat16_is_computed_in_float32(case):
  arrays = arrays_of(case)
  narrow = arrays | floats(arrays, jnp.bfloat16)
  loss, diagnostics = run(case, narrow)
  assert {x.dtype for x in (loss, *diagnostics.values())} == {jnp.dtype('float32')}
  np.testing.assert_array_equal(loss, run(case, narrow | floats(narrow, jnp.float32))[0])


@cases.by_function(CASES)
def test_far_policies_give_finite_losses_and_gradients(case):
  arrays = arrays_of(case)
  names = [n for n in arrays if n.endswith('logprobs') or n in ('scores', 'token_scores')]
  step = step_of(case)
  for chosen in itertools.product((0.0, -1e4, 'both'), repeat=len(names)):
    far = dict(arrays)
    for name, level in zip(names, chosen):
      size = arrays[name].size
      mixed = jnp.where(jnp.arange(size) % 2 == 0, 0.0, -1e4).reshape(arrays[name].shape)
      far[name] = mixed if level == 'both' else jnp.full_like(mixed, level)
    found = step(far, jnp.ones(run(case, arrays)[0].shape))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found)), chosen


@each(FIRST)
def test_no_floats_are_scattered(case):
  arrays = arrays_of(case)
  cotangent = jnp.ones(run(case, arrays)[0].shape)
  lowered = step_of(case).lower(arrays, cotangent).as_text()
  assert not re.search(r'stablehlo\.scatter"[^^]*\^bb0\(%\w+: tensor<f', lowered)


@each(OF_SAMPLES)
def test_diagnostics_are_those_of_the_pair(case):
  if case.function.declared.denominator != 'groups':
    return
  loss, seen = run(case, arrays_of(case))
  seen = {name: np.asarray(x) for name, x in seen.items()}
  place = seen['pairs'] == 1
  assert not np.any(np.asarray(loss)[~place]) and place.sum() >= 2
  assert all(not np.any(x[~place]) for x in seen.values())
  np.testing.assert_allclose(seen['margin'], seen['chosen'] - seen['rejected'], atol=1e-5)
  np.testing.assert_array_equal(seen['accuracy'], seen['margin'] > 0)


# -- how pairs are found


def pair_of(rewards, groups=None):
  more = 6 - len(rewards)
  groups = [0] * len(rewards) if groups is None else groups
  groups = jnp.array(groups + [-1] * more, jnp.int32)
  found = pairing.find_pairs(jnp.array(rewards + [9.0] * more), groups)
  return [np.flatnonzero(x).tolist() for x in (found.chosen, found.rejected)]


def test_a_pair_is_the_best_and_the_worst_of_its_group():
  assert pair_of([0.2, 0.9, 0.1, 0.5]) == [[1], [2]]
  assert pair_of([1.0, 0.0, 1.0, 0.0]) == [[0], [1]]  # the first of equals
  assert pair_of([0.0, 1.0, np.nan, -np.inf, np.inf]) == [[1], [0]]
  assert pair_of([1.0, np.nan]) == pair_of([2.0, 2.0, 2.0]) == pair_of([3.0]) == [[], []]
  assert pair_of([1.0, 5.0, 2.0, 3.0], [0, -1, 0, 1]) == [[2], [0]]
  assert pair_of([0.1, 0.3, 0.2, 0.4], [3, 3, 0, 0]) == [[1, 3], [0, 2]]


def test_samples_between_the_best_and_the_worst_take_no_part():
  l, ref = jnp.array([-1.0, -2.0, -3.0]), jnp.zeros(3)
  ids, rewards = jnp.zeros(3, jnp.int32), jnp.array([0.0, 1.0, 0.5])
  gradient = jax.grad(lambda x: jnp.sum(losses.dpo(x, ref, rewards, ids)[0]))(l)
  assert gradient[1] < 0 < gradient[0] and gradient[2] == 0
  two = losses.dpo(l, ref, rewards, ids.at[2].set(-1))[0]
  np.testing.assert_array_equal(losses.dpo(l, ref, rewards, ids)[0], two)


# -- signs, golden values, special cases


def at_pair(name, h_w, h_l, **hyper):
  """(loss, slope of the chosen, slope of the rejected) of one pair with these log-ratios."""
  function = getattr(losses, name)
  arrays = {'sequence_logprobs': jnp.array([h_w, h_l]), 'rewards': jnp.array([1.0, 0.0])}
  arrays |= {'group_ids': jnp.zeros(2, jnp.int32), 'sequence_ref_logprobs': jnp.zeros(2)}
  arrays |= {'scores': arrays['sequence_logprobs'], 'completion_length': jnp.array([4.0, 2.0])}

  def loss(x):
    own = {n: arrays[n] for n in signature(function).arrays}
    own |= {n: x for n in own if n in ('sequence_logprobs', 'scores')}
    return jnp.sum(function(**own, **hyper)[0])

  value, slopes = jax.value_and_grad(loss)(arrays['sequence_logprobs'])
  return float(value), float(slopes[0]), float(slopes[1])


@pytest.mark.parametrize(
  'name',
  'dpo robust_dpo exo slic ipo sppo_hard nca bco_pair apo_zero aot aot_unpaired r_dpo '
  'dpop rpo irpo list_mle bradley_terry'.split(),
)
def test_at_the_start_the_chosen_rises_and_the_rejected_falls(name):
  _, chosen, rejected = at_pair(name, 0.0, 0.0)
  assert chosen < 0 < rejected


@pytest.mark.parametrize('name', ['simpo', 'alpha_po', 'cpo', 'orpo'])
def test_without_a_reference_the_chosen_rises_and_the_rejected_falls(name):
  _, chosen, rejected = at_pair(name, -3.0, -2.0)
  assert chosen < 0 < rejected


def test_both_fall_where_the_chosen_is_worse_than_the_policy():
  _, chosen, rejected = at_pair('apo_down', 0.0, -30.0)
  assert chosen > 0 and rejected > 0
  # DPO pushes the chosen up wherever it stands; DPO-Positive and NCA pull back one that fell.
  weak = -at_pair('dpo', -5.0, -30.0, beta=0.3)[1]
  strong = -at_pair('dpop', -5.0, -30.0, beta=0.3, penalty=5.0)[1]
  assert strong > 10 * weak > 0
  assert at_pair('nca', -30.0, -60.0)[1] < -0.09 and at_pair('dpo', -30.0, -60.0)[1] > -0.006


@pytest.mark.parametrize(
  ('name', 'h', 'hyper', 'value'),
  [
    ('dpo', (1.0, -1.0), {'beta': 0.5}, 0.3132617),
    ('dpo', (1.0, -1.0), {'beta': 0.5, 'label_smoothing': 0.1}, 0.4132617),
    ('dpo', (1.0, -1.0), {'beta': 0.5, 'margin': 1.0}, 0.6931472),
    ('robust_dpo', (1.0, -1.0), {'beta': 0.5, 'label_smoothing': 0.1}, 0.1882617),
    ('slic', (1.0, -1.0), {'beta': 0.1}, 0.8),
    ('slic', (6.0, -6.0), {'beta': 0.1}, 0.0),
    ('ipo', (4.0, -2.0), {'beta': 0.1}, 9.0),
    ('ipo', (4.0, -2.0), {'beta': 0.1, 'average': False}, 1.0),
    ('sppo_hard', (4.0, -2.0), {'beta': 0.1}, 10.0),
    ('apo_zero', (0.0, 0.0), {}, 1.0),
    ('dpop', (-1.0, -1.0), {'beta': 1.0, 'penalty': 1.0}, 1.3132617),
    ('bradley_terry', (1.0, -1.0), {}, 0.1269280),
    ('bradley_terry', (2.0, 0.0), {}, 0.1669280),
    ('simpo', (-4.0, -4.0), {'beta': 2.0, 'margin': 1.0}, 0.3132617),
    ('orpo', (-4.0 * 0.6931472, -2.0 * 0.6931472), {'beta': 1.0}, 1.3862944),
  ],
)
def test_golden_values(name, h, hyper, value):
  assert at_pair(name, *h, **hyper)[0] == pytest.approx(value, abs=2e-6)


def of_samples(name, **hyper):
  function, optional = getattr(losses, name), hyper.pop('optional', ())
  names = (*signature(function).arrays, *optional)
  changed = {n: hyper.pop(n) for n in names if n in hyper}
  arrays = {n: jnp.asarray(SAMPLES[n]) for n in names} | changed
  return np.asarray(function(**arrays, **hyper)[0])


@pytest.mark.parametrize(
  ('name', 'hyper'),
  [
    ('dpo', {'f_divergence': 'alpha', 'alpha': 1.0}),
    ('dpo', {'f_divergence': 'alpha', 'alpha': 1.0 + 1e-4}),
    ('robust_dpo', {'label_smoothing': 0.0}),
    ('r_dpo', {'alpha': 0.0}),
    ('dpop', {'penalty': 0.0}),
    ('tdpo', {'alpha': 0.0}),
    ('rpo', {'eta': 0.0}),
    ('irpo', {'nll_coef': 0.0}),
    ('xpo', {'alpha': 0.0}),
    ('bradley_terry', {'center_coef': 0.0}),
  ],
)
def test_special_cases_that_are_dpo(name, hyper):
  if name == 'bradley_terry':  # of the implicit rewards
    hyper = hyper | {
      'scores': 0.1 * jnp.asarray(SAMPLES['sequence_logprobs'] - SAMPLES['sequence_ref_logprobs'])
    }
  else:
    hyper = hyper | {'beta': 0.1}
  np.testing.assert_allclose(of_samples(name, **hyper), of_samples('dpo'), rtol=1e-3, atol=1e-6)


def test_alpha_po_without_a_shape_is_simpo():
  hyper = {'beta': 2.0, 'margin': 0.5}
  np.testing.assert_allclose(
    of_samples('alpha_po', alpha=0.0, **hyper), of_samples('simpo', **hyper), rtol=1e-6
  )


def test_lists_of_two_are_dpo():
  groups = jnp.where(np.isin(GROUPS, [0, 1, 8]), SAMPLES['group_ids'], -1)
  expected = of_samples('dpo', group_ids=groups, beta=0.5)
  found = of_samples('list_mle', group_ids=groups, beta=0.5)
  np.testing.assert_allclose(by_group(found), by_group(expected), rtol=1e-6)
  one = jnp.where(SAMPLES['group_ids'] == 1, 0, -1)
  for name in ('aot', 'aot_unpaired'):
    np.testing.assert_allclose(
      of_samples(name, group_ids=one), of_samples('dpo', group_ids=one), rtol=1e-6
    )


def test_the_robust_loss_is_unbiased_over_flipped_labels():
  flipped = of_samples('robust_dpo', rewards=-jnp.asarray(SAMPLES['rewards']), label_smoothing=0.2)
  mean = 0.8 * of_samples('robust_dpo', label_smoothing=0.2) + 0.2 * flipped
  groups = np.isin(GROUPS, [0, 1, 8])  # of two samples: the flip exchanges them
  np.testing.assert_allclose(
    by_group(mean * groups), by_group(of_samples('dpo') * groups), rtol=1e-5
  )


def test_kto_without_drift():
  arrays = {'is_mismatched': jnp.zeros(len(GROUPS), bool), 'beta': 0.3}
  plain = of_samples('apo_zero_unpaired', beta=0.3)
  np.testing.assert_allclose(of_samples('kto', **arrays), plain, rtol=1e-6)
  # Mismatched samples that the policy likes less than the reference does have no negative KL.
  arrays['is_mismatched'] = jnp.asarray(SAMPLES['is_mismatched'])
  low = jnp.where(SAMPLES['is_mismatched'], 50.0, SAMPLES['sequence_ref_logprobs'])
  found = of_samples('kto', **arrays, sequence_ref_logprobs=low)
  np.testing.assert_allclose(found, np.where(SAMPLES['is_mismatched'], 0, plain), rtol=1e-6)


def test_the_expected_gradient_of_nash_md_is_that_of_win_rate_and_kl():
  """Over a distribution on five sequences, enumerated."""
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    logits, ref = (jnp.asarray(rng.normal(size=5)) for _ in range(2))
    wins, ref = jnp.asarray(rng.random(5)), jax.nn.log_softmax(ref)

    def objective(logits):
      l = jax.nn.log_softmax(logits)
      return jnp.sum(jnp.exp(l) * (wins - 0.3 * (l - ref)))

    def surrogate(logits):
      l = jax.nn.log_softmax(logits)
      own = jnp.zeros(5, bool)
      loss, _ = losses.nash_md(l, ref, wins, jnp.arange(5, dtype=jnp.int32), own, beta=0.3)
      return jnp.sum(jax.lax.stop_gradient(jnp.exp(l)) * loss)

    found, expected = jax.grad(surrogate)(logits), -jax.grad(objective)(logits)
  np.testing.assert_allclose(found, expected, atol=1e-12)


def test_errors_say_what_is_missing():
  arrays = [jnp.asarray(SAMPLES[n]) for n in signature(losses.dpo).arrays]
  with pytest.raises(ValueError, match="'chi' is not one of kl, forward_kl, js, alpha"):
    losses.dpo(*arrays, f_divergence='chi')
  with pytest.raises(ValueError, match='needs the array completion_length'):
    losses.dpo(*arrays, length_normalize=True)
  with pytest.raises(ValueError, match="'sum' is not one of"):
    losses.tpo(*(jnp.asarray(SAMPLES[n]) for n in signature(losses.tpo).arrays), pair='sum')


# -- functions of tokens


def test_weights_of_wpo():
  names = signature(losses.wpo_weights).arrays
  with jax.enable_x64(True):
    arrays = [jnp.asarray(PACKED[n]) for n in names]
    found = losses.wpo_weights(*arrays)
    gradient = jax.grad(lambda l, s: jnp.sum(losses.wpo_weights(l, s, *arrays[2:])), (0, 1))
    assert not np.any(gradient(*arrays[:2]))
  np.testing.assert_allclose(found, reference.wpo_weights(PACKED), rtol=1e-12)
  dirty = (jnp.where(PACKED['action_mask'], PACKED[n], np.nan) for n in names[:2])
  np.testing.assert_allclose(losses.wpo_weights(*dirty, *arrays[2:]), found, rtol=1e-5)


def test_token_functions_that_are_dpo():
  def of_packed(name, *, more=None, **hyper):
    function = getattr(losses, name)
    arrays = {n: jnp.asarray(PACKED[n]) for n in signature(function).arrays}
    return function(**arrays, **(more or {}), **hyper)[0]

  expected = of_packed('dpo')
  np.testing.assert_allclose(of_packed('ld_dpo', alpha=1.0), expected, rtol=1e-5)
  one = {'sequence_weights': jnp.ones(PACKED['rewards'].shape)}
  np.testing.assert_allclose(of_packed('wpo', more=one), expected, rtol=1e-6)


def test_accuracy_of_steps():
  values = jnp.array([[2.0, -1.0, 3.0, -2.0, 5.0]])
  labels = jnp.array([[1, 1, 0, 0, -100]])
  segments = jnp.array([[0, 0, 0, 1, 1]])
  _, seen = losses.step_cross_entropy(values, labels, segments)
  np.testing.assert_array_equal(seen['accuracy'], [[1, 0, 0, 1, 0]])
  np.testing.assert_array_equal(seen['steps'], [[1, 1, 1, 1, 0]])
  _, seen = losses.step_cross_entropy(values, labels, segments, last_step_only=True)
  np.testing.assert_array_equal(seen['steps'], [[0, 0, 1, 1, 0]])


# -- sums over long completions


@pytest.fixture(scope='module')
def long_pairs():
  """128 pairs of 2048 tokens (Σℓ about −3000) whose policy has moved by 1e-4 nats a token."""
  rng = np.random.default_rng(0)
  l = -rng.exponential(1.5, size=(256, 2048))
  ref = (l + 1e-4 * rng.normal(size=l.shape)).astype(np.float32)
  l = l.astype(np.float32)
  h = (l.astype(np.float64) - ref).sum(1)
  maps = {
    'action_mask': jnp.ones(l.shape, bool),
    'segment_ids': jnp.zeros(l.shape, jnp.int32),
    'sample_ids': jnp.arange(256, dtype=jnp.int32)[:, None],
    'sample_slots': jnp.arange(256, dtype=jnp.int32),
  }
  groups = {'rewards': jnp.tile(jnp.array([1.0, 0.0]), 128)}
  groups['group_ids'] = jnp.repeat(jnp.arange(128, dtype=jnp.int32), 2)
  return l, ref, h[::2] - h[1::2], maps, groups


def test_sums_of_two_thousand_tokens_keep_the_sign_of_margins_above_a_thousandth(long_pairs):
  """A float32 sum of −3000 is exact to 1.2e-4, so four of them cannot give Δ to better than 5e-4.

  The sums of the packed reductions come within twice that; one after the other would be 1e-2.
  """
  l, ref, exact, maps, groups = long_pairs

  def sums(x):
    inner = (maps['action_mask'], maps['segment_ids'], maps['sample_slots'])
    return masking.token_to_sample_sum(jnp.asarray(x), *inner, 1)

  def margins(sums, ref_sums):
    seen = losses.dpo(sums, ref_sums, **groups, beta=1.0)[1]
    return np.asarray(seen['margin'])[::2], np.asarray(seen['accuracy'])[::2]

  found, accuracy = margins(sums(l), sums(ref))
  assert np.abs(found - exact).max() < 1.5e-3
  wrong = accuracy != (exact > 0)
  assert np.abs(exact)[wrong].max(initial=0) < 1e-3 and wrong.mean() < 0.1
  rounded = margins(*(jnp.asarray(x.astype(np.float64).sum(1), jnp.float32) for x in (l, ref)))[0]
  assert np.abs(rounded - exact).max() > 1e-4  # even of exact sums
  naive = margins(*(jnp.asarray(np.cumsum(x, axis=1)[:, -1]) for x in (l, ref)))[0]
  assert np.abs(naive - exact).max() > 5e-3


def test_log_ratios_that_are_summed_as_such_keep_every_sign(long_pairs):
  l, ref, exact, maps, groups = long_pairs
  run = jax.jit(functools.partial(losses.ld_dpo, beta=1.0, alpha=1.0))
  _, seen = run(jnp.asarray(l), jnp.asarray(ref), **maps, **groups)
  np.testing.assert_allclose(np.asarray(seen['margin'])[::2], exact, atol=1e-7)
  np.testing.assert_array_equal(np.asarray(seen['accuracy'])[::2], exact > 0)


UNPAIRED = {  # group 0 is right, 1 wrong; 2 all good, 3 without feedback, 4 alone, 5 unscorable
  'group_ids': [0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 5, -1],
  'rewards': [1, -1, -1, -2, 1, 1, 1, 1, 0, -1, 1, np.nan, -1],
  'sequence_logprobs': [-2.0, -5, -1, -9, -3, -4, -6, -1, -2, -3, -2, -7, -1],
  'sequence_ref_logprobs': [-3.0, -4.5, -3, -4, -1, -2, -6, -2, -4, -1, -4, -3, -9],
}  # h = 1, -.5 | 2, -5, -2 | ...


@pytest.mark.parametrize('name', ['kto', 'apo_zero_unpaired'])
def test_unpaired_losses_tell_of_pairs_too(name):
  arrays = {n: jnp.asarray(x, jnp.int32 if n == 'group_ids' else None) for n, x in UNPAIRED.items()}
  if name == 'kto':
    arrays['is_mismatched'] = jnp.arange(13) == 8
  loss, seen = getattr(losses, name)(**arrays, beta=0.5)
  kl = seen.pop('kl_ref', None)
  found = {n: np.asarray(x)[np.asarray(seen['pairs']) == 1].tolist() for n, x in seen.items()}
  assert found == {
    'pairs': [1, 1],
    'chosen': [0.5, -1.0],
    'rejected': [-0.25, -2.5],
    'margin': [0.75, 1.5],
    'accuracy': [1, 1],
  }
  assert np.flatnonzero(seen['pairs']).tolist() == [0, 4]
  assert not any(np.any(np.delete(np.asarray(x), [0, 4])) for x in seen.values())
  judged = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10]
  assert np.flatnonzero(loss).tolist() == judged  # and not of pairs alone
  if name == 'kto':  # KL of the mismatched sample: -2 + 4
    np.testing.assert_array_equal(kl, np.where(np.isin(np.arange(13), judged), 2, 0))
    arrays['rewards'] = arrays['rewards'].at[8].set(-1)  # of another prompt: in no pair
    again = losses.kto(**arrays, beta=0.5)[1]
    np.testing.assert_array_equal(again['pairs'], seen['pairs'])
  # The policy comes to prefer the bad answer of group 0.
  arrays['sequence_logprobs'] = arrays['sequence_logprobs'].at[1].add(2.0)
  _, seen = getattr(losses, name)(**arrays, beta=0.5)
  assert seen['accuracy'][0] == 0 and seen['margin'][0] == -0.25 and seen['accuracy'][4] == 1


def test_metrics_of_pairs_are_means_over_pairs():
  """The weights are 1/groups on all groups: those without a pair are no wrong or narrow pairs."""
  names = ('sequence_logprobs', 'sequence_ref_logprobs', 'rewards', 'group_ids')
  _, seen = losses.dpo(*(jnp.asarray(SAMPLES[name]) for name in names))
  groups = len(set(GROUPS) - {-1})
  metrics = {f'method/dpo/{name}': np.sum(x) / groups for name, x in seen.items()}
  metrics |= {'policy/loss': 0.5, 'time/update': 1.0}
  terms = types.SimpleNamespace(loss=types.SimpleNamespace(name='dpo'))
  told = loss_pass.of_pairs(metrics, terms)
  paired = np.asarray(seen['pairs']) > 0
  assert 1 < np.sum(paired) < groups
  means = {f'method/dpo/{name}': np.mean(np.asarray(x)[paired]) for name, x in seen.items()}
  means['method/dpo/pairs'] = np.sum(paired) / groups
  assert told == pytest.approx({'policy/loss': 0.5, 'time/update': 1.0, **means})
  assert loss_pass.of_pairs(dict.fromkeys(metrics, 0.0), terms) == dict.fromkeys(metrics, 0.0)
  of_tokens = {'policy/loss': 0.5, 'method/dpo/margin': 0.25}
  assert loss_pass.of_pairs(of_tokens, terms) == of_tokens

  stage = types.SimpleNamespace(name='preference', objective=terms)
  named = ranked.Given.rename(stage, told)
  assert named['preference/accuracy'] == told['method/dpo/accuracy']
  assert {n.split('/')[1] for n in named if n.startswith('preference/')} == {
    'loss', 'accuracy', 'margin'
  }  # fmt: skip


@pytest.mark.thorough
def test_an_update_counts_only_groups_with_a_pair():
  stage = dict(
    loss=dict(name='losses.dpo'), weights=dict(name='weighting.group_mean'), advantage=None
  )
  step, _, hyper, frozen = tiny_updates.make(stage)
  rollout, _ = random_rollout(3)
  equal = np.where(rollout.group_ids < 4, 1.0, np.arange(24) % 4)  # two groups of six have a pair
  alone = np.where(rollout.group_ids < 4, np.nan, equal)
  layout = make_layout(samples=24, group_size=4, max_length=20, rows=24, row_length=20)
  seen = []
  for rewards in (equal, alone):
    batch, _ = pack(rollout, rewards.astype(np.float32), layout)
    state = tiny_updates.make(stage)[1]
    seen.append(step(state, frozen, batch, hyper())[1])
  many, few = ({n: float(x[n]) for n in x if n.startswith('method/dpo/')} for x in seen)
  assert many.pop('method/dpo/pairs') == pytest.approx(2 / 6)
  assert few.pop('method/dpo/pairs') == 1
  assert many == pytest.approx(few, rel=1e-5) and many['method/dpo/margin'] != 0
  whole, part = (float(x['policy/loss']) for x in seen)
  assert whole == pytest.approx(part / 3, rel=1e-5)  # the loss is the mean that is optimised
