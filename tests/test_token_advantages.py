"""Advantages per token and what shapes them: one line of CASES holds a function to its word."""

import functools
import itertools
import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.token_advantages import ARRAYS, CASES, CUTS, SHAPING, STATES
from reference import batches

from rljax import advantages
from rljax.binding import signature

EVERY = CASES | SHAPING | CUTS


def one_of_each(cases):
  """One case for each set of floating hyper-parameters of each function."""
  found = {}
  for name, case in cases.items():
    hyper = signature(case.function).hyper | case.hyper
    floats = frozenset(n for n, v in hyper.items() if isinstance(v, float))
    found.setdefault((case.function, floats), name)
  return {name: cases[name] for name in found.values()}


def each(cases):
  return pytest.mark.parametrize('case', list(cases.values()), ids=list(cases))


def token_batch(seed=0):
  """A packed batch with the methods' arrays, and samples that are out of the ordinary.

  The first has an unscorable reward, the second one action token, the third none, the fourth no
  baseline; some values of states are missing.
  """
  batch = batches.packed(seed)
  used = list(batches.samples(batch))
  batch['rewards'][used[0][0]] = np.nan
  for (_, places), kept in zip(used[1:3], (1, 0)):
    for i, place in enumerate(places):
      batch['action_mask'][place] = i < kept
  for name, make in ARRAYS.items():
    batch[name] = make(batch, np.random.default_rng([seed, zlib.crc32(name.encode())]))
  batch['baseline_rewards'][used[3][0]] = np.nan
  missing = np.random.default_rng(seed).random(batch['action_mask'].shape) < 0.2
  batch['state_values'][missing] = np.nan
  return batch


def arrays_of(case, batch, dtype=None):
  """The arrays of the case's function as jax arrays, the floating ones in `dtype`."""

  def array(x):
    return jnp.asarray(x, dtype if jnp.issubdtype(x.dtype, jnp.floating) else None)

  return {name: array(batch[name]) for name in signature(case.function).arrays}


@functools.cache
def compiled(function, **static):
  return jax.jit(functools.partial(forgetful(function), **static))


def forgetful(function):
  """The function without the state that it may take and return."""
  if 'state' not in signature(function).reserved:
    return function
  return lambda *arrays, **hyper: function(*arrays, **hyper, state=STATES[function.__name__])[0]


def run(case, batch):
  """What the function gives in float64, as a tuple of numpy arrays."""
  with jax.enable_x64(True):
    return outputs(compiled(case.function, **case.hyper)(*arrays_of(case, batch).values()))


def outputs(result):
  return tuple(np.asarray(x) for x in (result if isinstance(result, tuple) else (result,)))


def test_every_function_of_tokens_has_a_case():
  public = [getattr(advantages, n) for n in advantages.__all__ if not n.endswith('_init')]
  of_tokens = {f.__name__ for f in public if f.declared.denominator == 'tokens'}
  assert {case.function.__name__ for case in EVERY.values()} == of_tokens


# -- every function -------------------------------------------------------------------------------


@each(EVERY)
def test_values_are_those_of_the_formula(case):
  for seed in (0, 1):
    batch = token_batch(seed)
    expected = outputs(case.reference(batch, list(batches.samples(batch))))
    for a, b in zip(run(case, batch), expected, strict=True):
      assert a.dtype == np.float64 or case in CUTS.values()
      np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def repacked(batch, seed=0):
  """(the same samples under other numbers in other rows, [(place, new place), …])."""
  rng, shape, mapping = np.random.default_rng(seed), batch['action_mask'].shape, []
  number = rng.permutation(batches.N)  # old sample -> new one
  tokens = [name for name, x in batch.items() if np.shape(x)[:3] == shape]
  out = {name: np.zeros_like(batch[name]) for name in tokens}
  for name, x in batch.items():
    if np.shape(x) == (batches.N,):
      out[name] = np.empty_like(x)
      out[name][number] = x
  out['segment_ids'][:] = -1
  out['sample_ids'] = np.full_like(batch['sample_ids'], -1)
  out['sample_slots'] = np.full(batches.N, -1, np.int32)
  used, rows = list(batches.samples(batch)), rng.permutation(list(np.ndindex(shape[:-1])))
  free, count = dict.fromkeys(map(tuple, rows), 0), dict.fromkeys(map(tuple, rows), 0)
  for i in rng.permutation(len(used)):
    sample, places = used[i]
    fits = (r for r in free if free[r] + len(places) <= batches.T and count[r] < batches.S)
    row = next(fits)
    s, slot = count[row], free[row]
    out['sample_ids'][(*row, s)] = number[sample]
    out['sample_slots'][number[sample]] = np.ravel_multi_index((*row, s), batch['sample_ids'].shape)
    for place in places:
      new = (*row, slot)
      for name in tokens:
        out[name][new] = batch[name][place]
      out['segment_ids'][new] = s
      mapping.append((place, new))
      slot += 1
    free[row], count[row] = slot, s + 1
  return out, mapping


@each(EVERY)
def test_neither_packing_nor_order_matters(case):
  batch = token_batch(3)
  other, mapping = repacked(batch)
  for a, b in zip(run(case, batch), run(case, other), strict=True):
    np.testing.assert_allclose([b[q] for _, q in mapping], [a[p] for p, _ in mapping], atol=1e-10)


def dirty(case, batch, filler):
  """The batch with `filler` in all that must not matter."""
  out, scored = dict(batch), 'rewards' in signature(case.function).arrays
  action, counted = np.zeros_like(batch['action_mask']), np.zeros_like(batch['action_mask'])
  for sample, places in batches.samples(batch):
    if not scored or math.isfinite(batch['rewards'][sample]):
      for i, place in enumerate(places):
        action[place] = batch['action_mask'][place]
        # A reward on a masked token counts, but not before the first action token.
        counted[place] = any(batch['action_mask'][p] for p in places[: i + 1])
  for name in signature(case.function).arrays:
    x = batch[name]
    kept = counted if name == 'token_rewards' else action
    if x.shape[:3] == kept.shape and name not in ('action_mask', 'segment_ids'):
      kept = kept.reshape(kept.shape + (1,) * (x.ndim - kept.ndim))
      integer = np.issubdtype(x.dtype, np.integer)
      out[name] = np.where(kept, x, 77 if integer else filler).astype(x.dtype)
    elif x.shape == (batches.N,) and np.issubdtype(x.dtype, np.floating):
      out[name] = np.where(batch['sample_slots'] >= 0, x, filler).astype(x.dtype)
  return out


@each(EVERY)
def test_masked_entries_have_no_influence(case):
  batch = token_batch(2)
  expected = run(case, batch)
  for x in expected:
    assert np.all(np.isfinite(x))
    assert np.all(x[~batch['action_mask']] == (-1 if case in CUTS.values() else 0))
  for filler in (np.nan, np.inf, 1e30):
    found = run(case, dirty(case, batch, filler))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@each(one_of_each(CASES | SHAPING))
def test_all_arguments_are_constants(case):
  arrays = arrays_of(case, token_batch(0), jnp.float32)
  floats = {n: x for n, x in arrays.items() if jnp.issubdtype(x.dtype, jnp.floating)}
  function = forgetful(case.function)

  def total(floats):
    ordered = [(arrays | floats)[n] for n in arrays]
    return sum(jnp.sum(x**2) for x in jax.tree.leaves(function(*ordered, **case.hyper)))

  value, gradients = jax.jit(jax.value_and_grad(total))(floats)
  assert value > 0
  for gradient in gradients.values():
    assert not np.any(gradient)


@each(one_of_each(EVERY))
def test_half_precision_is_widened(case):
  half = arrays_of(case, token_batch(1), jnp.bfloat16)
  found = outputs(compiled(case.function, **case.hyper)(*half.values()))
  same = {n: np.asarray(x, np.float64) if x.dtype == jnp.bfloat16 else x for n, x in half.items()}
  for a, b in zip(found, run(case, same), strict=True):
    assert a.dtype == (np.int32 if case in CUTS.values() else np.float32)
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@each(one_of_each(EVERY))
def test_hyper_parameters_may_be_traced_and_mapped(case):
  hyper = signature(case.function).hyper | case.hyper
  traced = {n: v for n, v in hyper.items() if isinstance(v, float)}
  static = {n: v for n, v in hyper.items() if n not in traced}
  if not traced:
    return
  batch, function = token_batch(0), forgetful(case.function)
  with jax.enable_x64(True):
    ordered = list(arrays_of(case, batch).values())
    two = {n: jnp.array([0.8 * v, v]) for n, v in traced.items()}
    found = outputs(jax.jit(jax.vmap(lambda h: function(*ordered, **static, **h)))(two))
  for a, b in zip(found, run(case, batch), strict=True):
    np.testing.assert_allclose(a[1], b, atol=1e-10)


# -- estimators -----------------------------------------------------------------------------------


def trait_batch():
  """Rewards of samples alone: a group that differs, one of equal rewards, one sample, the rest."""
  batch = token_batch(4)
  used = [sample for sample, _ in batches.samples(batch)]
  assert len(used) > 9
  batch['token_rewards'] = np.zeros_like(batch['token_rewards'])
  batch['baseline_rewards'] = np.nan_to_num(batch['baseline_rewards'])
  batch['rewards'][used[0]] = 0.6
  for group, samples in enumerate((used[:4], used[4:7], used[7:8], used[8:])):
    batch['group_ids'][samples] = group
  batch['rewards'][used[4:7]] = 1 / 3
  return batch


def of_group(batch, advantage, group):
  members = batch['group_ids'] == group
  own = [p for j, places in batches.samples(batch) if members[j] for p in places]
  return np.array([advantage[p] for p in own])


@each(CASES)
def test_declared_traits_hold_and_others_do_not(case):
  batch = trait_batch()
  shifted = batch['rewards'] + np.where(batch['group_ids'] == 0, 0.7, 0.0)
  found, shifted, scaled = (
    run(case, batch | {'rewards': r})[0] for r in (batch['rewards'], shifted, 3 * batch['rewards'])
  )
  alone = np.concatenate([of_group(batch, found, g) for g in (1, 2)])
  observed = {
    'shift_invariant': np.allclose(shifted, found, atol=1e-7),
    'scale_invariant': np.allclose(scaled, found, rtol=2e-3, atol=1e-4),
    'zero_mean_in_group': all(abs(of_group(batch, found, g).sum()) < 1e-7 for g in range(4)),
    'group_relative': not np.any(alone),
  }
  declared = case.function.declared.traits if case.traits is None else case.traits
  assert {name for name, holds in observed.items() if holds} == set(declared)


@pytest.mark.parametrize('value', [0.1, 1 / 3, 1e6 + 0.1, -7.3])
def test_equal_rewards_give_exactly_zero(value):
  batch = trait_batch()
  batch['rewards'][:] = value
  seen = 0
  for case in CASES.values():
    traits = case.function.declared.traits if case.traits is None else case.traits
    if 'group_relative' in traits:
      assert not np.any(run(case, batch))
      seen += 1
  assert seen > 3


@each(EVERY)
def test_what_it_couples(case):
  batch, reached = token_batch(0), set()
  known = signature(case.function).arrays
  origins = ('rewards', 'advantages', 'policy_logprobs', 'old_logprobs')
  name = next(origin for origin in origins if origin in known)
  before = run(case, batch)[0]
  for sample, places in batches.samples(batch):
    actions = [p for p in places if batch['action_mask'][p]]
    members = batch['group_ids'] == batch['group_ids'][sample]
    group = {p for j, q in batches.samples(batch) if members[j] for p in q}
    for origin in [sample] if name == 'rewards' else actions:
      moved = batch | {name: batch[name].copy()}
      moved[name][origin] += 2.5
      changed = {tuple(p) for p in np.argwhere(before != run(case, moved)[0])}
      reached |= {'batch'} if changed - group else set()
      reached |= {'group'} if changed - set(places) else set()
      reached |= {'sequence'} if changed - {origin} else set()
  widest = next((w for w in ('batch', 'group', 'sequence') if w in reached), 'token')
  assert widest == (case.couples or case.function.declared.couples)


@each(CASES)
def test_unscorable_and_unused_samples_have_no_influence(case):
  batch = token_batch(0)
  sample, places = next(s for s in batches.samples(batch) if s[0] == 8)
  without = {n: x.copy() for n, x in batch.items()}
  without['group_ids'][sample], without['rewards'][sample] = -1, 0
  for place in places:
    without['action_mask'][place] = False
  expected = run(case, without)
  for filler in (np.nan, np.inf, -np.inf):
    left = batch | {'rewards': batch['rewards'].copy()}
    left['rewards'][sample] = filler
    jax.tree.map(np.testing.assert_array_equal, run(case, left), expected)
  if 'group_ids' in signature(case.function).arrays:
    left = batch | {'group_ids': without['group_ids']}
    jax.tree.map(np.testing.assert_array_equal, run(case, left), expected)


@each(one_of_each(EVERY))
def test_nothing_is_scattered(case):
  arrays = arrays_of(case, token_batch(0), jnp.float32)
  lowered = compiled(case.function, **case.hyper).lower(*arrays.values()).as_text()
  assert 'scatter' not in lowered


def test_values_of_states_are_read_where_steps_begin():
  batch = token_batch(0)
  case = CASES['state_value_differences']
  known = np.nan_to_num(batch['state_values'])
  kept, inside = known.copy(), batch['action_mask'].copy()
  for _, places in batches.samples(batch):
    actions = [p for p in places if batch['action_mask'][p]]
    for before, place in itertools.pairwise(actions):
      if batch['step_ids'][before] == batch['step_ids'][place]:
        kept[place] = 1e6
  assert np.any(kept[inside] == 1e6)
  expected = run(case, batch | {'state_values': known})
  np.testing.assert_array_equal(run(case, batch | {'state_values': kept}), expected)
