"""Advantage estimators: one line of CASES holds a function to everything that it says."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import token_advantages
from reference import advantages as reference

from rljax import advantages

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
TOKEN_LEVEL = token_advantages.NAMES  # held to their word in test_token_advantages.py

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
