"""Advantage estimators: one line of CASES holds a function to everything that it says."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import advantages as reference
from reference import batches

from rljax import advantages
from rljax.binding import signature

GROUPS = jnp.array([2, 0, 2, 1, 0, 2, -1, 1, 0, 3, 2, 4, 4], jnp.int32)  # ragged, 3 is a singleton
REWARDS = np.array([1.0, 0.5, 0.0, 2.0, -1.0, 1.0, 9.0, 2.0, 0.3, 0.7, 0.0, 0.1, 0.2])  # 1 is equal


@dataclasses.dataclass(frozen=True)
class Case:
  """An estimator of [N] from rewards and groups; traits and couples where hyper changes them."""

  function: Callable[..., Any]
  reference: Callable[..., Any]
  hyper: dict[str, Any] = dataclasses.field(default_factory=dict)
  traits: set[str] | None = None
  couples: str | None = None

  def __call__(self, rewards, group_ids):
    # Scale invariance is exact up to epsilon only.
    return self.function(rewards, group_ids, **self.hyper)

  @property
  def holds(self):
    return self.function.declared.traits if self.traits is None else self.traits


def normalize(traits=None, couples=None, **hyper):
  return Case(
    advantages.group_normalize,
    functools.partial(reference.group_normalize, **hyper),
    hyper,
    traits,
    couples,
  )


CENTRED = {'shift_invariant', 'zero_mean_in_group', 'group_relative'}
CASES = {
  'grpo': normalize(),
  'grpo, ddof 0': normalize(ddof=0, epsilon=1e-4),
  'dr_grpo': normalize(traits=CENTRED, scale='none'),
  'batch_std': normalize(
    traits={'zero_mean_in_group', 'group_relative', 'scale_invariant'},
    couples='batch',
    scale='batch',
  ),
  'whitened': normalize(
    traits={'scale_invariant'}, couples='batch', center='batch', scale='batch'
  ),
  'batch_mean': normalize(traits=set(), couples='batch', center='batch', scale='none'),
  'std_only': normalize(traits={'scale_invariant', 'group_relative'}, center='none'),
  'raw': normalize(traits=set(), couples='sequence', center='none', scale='none'),
  'rloo': Case(advantages.leave_one_out, reference.leave_one_out),
}
TOKEN_LEVEL = {'gae', 'whiten'}

each_case = pytest.mark.parametrize('case', list(CASES.values()), ids=list(CASES))


def by_group(x, group=2):
  return np.asarray(x)[np.asarray(GROUPS) == group]


def test_every_estimator_has_a_case():
  assert {c.function.__name__ for c in CASES.values()} | TOKEN_LEVEL == {*advantages.__all__}
  assert all(hasattr(getattr(advantages, name), 'declared') for name in advantages.__all__)


@each_case
def test_values_are_those_of_the_formula(case):
  for rewards in (REWARDS, np.where(np.arange(13) == 5, np.nan, REWARDS)):
    with jax.enable_x64(True):
      found = case(jnp.asarray(rewards), GROUPS)
      assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, case.reference(rewards, GROUPS), atol=1e-12)


@each_case
def test_declared_traits_hold_and_others_do_not(case):
  with jax.enable_x64(True):
    rewards = jnp.asarray(REWARDS)
    found = case(rewards, GROUPS)
    shifted = case(rewards + jnp.where(GROUPS == 2, 0.7, 0.0), GROUPS)
    scaled = case(3 * rewards, GROUPS)
    alone = np.concatenate([by_group(found, 1), by_group(found, 3)])
    observed = {
      'shift_invariant': np.allclose(shifted, found, atol=1e-9),
      'scale_invariant': np.allclose(scaled, found, rtol=2e-3),
      'zero_mean_in_group': all(abs(by_group(found, g).sum()) < 1e-9 for g in range(5)),
      'group_relative': not np.any(alone),
    }
  assert {name for name, holds in observed.items() if holds} == set(case.holds)


@each_case
def test_what_it_couples(case):
  found = np.asarray(case(jnp.asarray(REWARDS, jnp.float32), GROUPS))
  moved = np.asarray(case(jnp.asarray(REWARDS, jnp.float32).at[0].add(0.4), GROUPS))
  changed = set(np.flatnonzero(moved != found))
  group = set(np.flatnonzero(np.asarray(GROUPS) == 2))
  widest = 'batch' if changed - group else 'group' if changed - {0} else 'sequence'
  assert widest == (case.couples or case.function.declared.couples)


@each_case
def test_unused_and_unscorable_samples_have_no_influence(case):
  rewards = jnp.asarray(REWARDS, jnp.float32)
  found = case(rewards, GROUPS)
  for filler in (np.nan, 1e30, np.inf):
    np.testing.assert_array_equal(case(rewards.at[6].set(filler), GROUPS), found)
  for filler in (np.nan, np.inf, -np.inf):
    left = case(rewards.at[5].set(filler), GROUPS)
    without = case(rewards, GROUPS.at[5].set(-1))
    np.testing.assert_array_equal(left, without)
    assert left[5] == 0 and np.all(np.isfinite(left))


@each_case
def test_order_of_samples_does_not_matter(case):
  order = np.random.default_rng(0).permutation(13)
  rewards = jnp.asarray(REWARDS, jnp.float32)
  found = case(rewards, GROUPS)
  np.testing.assert_allclose(case(rewards[order], GROUPS[order]), found[order], atol=1e-6)


@each_case
def test_rewards_are_constants(case):
  gradient = jax.grad(lambda r: jnp.sum(case(r, GROUPS) ** 2))(jnp.asarray(REWARDS, jnp.float32))
  assert not np.any(gradient)


@pytest.mark.parametrize('value', [0.1, 1 / 3, 1e6 + 0.1, -7.3])
def test_equal_rewards_give_exactly_zero(value):
  # 7 times 1/3 has a mean that is not 1/3 in float32.
  rewards = jnp.full(13, value, jnp.float32)
  for case in CASES.values():
    if 'group_relative' in case.holds or case.couples == 'batch':
      assert not np.any(case(rewards, GROUPS))


def test_golden_values():
  # R = [1, 0, 0, 1 | ½ × 4], evaluated independently in numpy.
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
  ):
    np.testing.assert_allclose(found, size * sign, atol=1e-6)


def test_unknown_scope_is_an_error():
  with pytest.raises(ValueError, match="scale 'grop'"):
    advantages.group_normalize(jnp.zeros(2), jnp.zeros(2, jnp.int32), scale='grop')


# -- per token -------------------------------------------------------------------------------------


@functools.lru_cache
def compiled_gae(**hyper):
  return jax.jit(functools.partial(advantages.gae, **hyper))


def run_gae(batch, **hyper):
  names = signature(advantages.gae).arrays
  return compiled_gae(**hyper)(*(jnp.asarray(batch[n]) for n in names))


@pytest.mark.parametrize(
  'hyper',
  [{'whiten': False}, {'gamma': 0.9, 'gae_lambda': 0.7, 'bootstrap_truncated': True}],
  ids=['plain', 'everything on'],
)
def test_gae_is_the_recursion(hyper):
  for seed in (0, 1):
    batch = batches.packed(seed)
    batch['rewards'][next(batches.samples(batch))[0]] = np.nan
    expected = reference.gae(batch, list(batches.samples(batch)), **hyper)
    with jax.enable_x64(True):
      found = run_gae(batch, **hyper)
      jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), found, expected)


def test_gae_golden_values():
  # γ = 1, λ = 0.95, a masked token in place 2; the masked token carries 0.6 to its left.
  found, returns = compiled_gae(whiten=False)(
    jnp.ones(1),
    jnp.zeros((1, 4)),
    jnp.array([[0.1, 0.2, 0.9, 0.4]]),
    jnp.array([[True, True, False, True]]),
    jnp.zeros((1, 4), jnp.int32),
    jnp.zeros((1, 1), jnp.int32),
    jnp.zeros(1, bool),
  )
  np.testing.assert_allclose(found, [[0.8315, 0.77, 0, 0.6]], atol=1e-6)
  np.testing.assert_allclose(returns, [[0.9315, 0.97, 0, 1.0]], atol=1e-6)


def test_gae_ignores_what_is_masked():
  batch = batches.packed(2)
  batch = {n: x.astype(np.float32) if x.dtype == float else x for n, x in batch.items()}
  expected = run_gae(batch)
  for filler in (np.nan, 1e30):
    dirty = dict(batch)
    dirty['values'] = np.where(batch['action_mask'], batch['values'], filler)
    # A reward on a masked token counts, but not on a prompt or on padding.
    dirty['token_rewards'] = batch['token_rewards'].copy()
    dirty['token_rewards'][batch['segment_ids'] < 0] = filler
    for _, places in batches.samples(batch):
      dirty['token_rewards'][places[0]] = filler
    dirty['rewards'] = np.where(batch['sample_slots'] >= 0, batch['rewards'], filler)
    dirty = {n: x.astype(batch[n].dtype) for n, x in dirty.items()}
    jax.tree.map(np.testing.assert_array_equal, run_gae(dirty), expected)


def test_whiten():
  rng = np.random.default_rng(0)
  x, mask = rng.normal(size=(3, 8)), rng.random((3, 8)) < 0.6
  found = advantages.whiten(jnp.where(mask, x, np.nan), jnp.asarray(mask))
  assert found[mask].mean() == pytest.approx(0, abs=1e-6)
  assert found[mask].std(ddof=1) == pytest.approx(1, abs=1e-6)
  assert not np.any(found[~mask])
  assert not np.any(advantages.whiten(jnp.full((3, 8), 0.1), jnp.asarray(mask)))
