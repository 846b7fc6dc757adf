"""Exact expected policy gradients, over all completions and over all groups."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import tree
from reference.tree import BINARY, GRADED, MASK, THETA, close, logprobs, minus_reward, to_tokens

from rljax import advantages, losses

REWARDS = {'binary': BINARY, 'graded': GRADED}


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


@functools.cache
def wanted(rewards):
  """∇ of −E R."""
  return tree.gradients({'': minus_reward(REWARDS[rewards])})['']


def seen_with(advantage):
  """The expected gradient of REINFORCE with an advantage [40, 3]."""
  objective = tree.expected(lambda t: losses.reinforce(logprobs(t), advantage)[0], THETA)
  return tree.gradients({'': objective})['']


@pytest.mark.parametrize('baseline', [0.0, 0.6])
@pytest.mark.parametrize('rewards', REWARDS)
def test_reinforce_is_the_gradient_of_the_expected_reward(rewards, baseline):
  assert close(seen_with(to_tokens(REWARDS[rewards] - baseline)), wanted(rewards))


def test_so_is_the_clipped_surrogate_on_policy():
  objective = tree.expected(
    lambda t: losses.clipped_surrogate(logprobs(t), logprobs(THETA), to_tokens(GRADED))[0], THETA
  )
  assert close(tree.gradients({'': objective})[''], wanted('graded'))


def over_groups(estimator, rewards, size):
  """Expected advantage [40] of a completion in a group of `size`, over all its companions."""
  levels, level = np.unique(rewards, return_inverse=True)
  share = np.bincount(level, weights=np.asarray(tree.probabilities(THETA)))
  groups = np.stack(np.meshgrid(*[np.arange(len(levels))] * size, indexing='ij'), -1)
  groups = groups.reshape(-1, size)
  ids = jnp.zeros(size, jnp.int32)
  a = jax.jit(jax.vmap(lambda r: estimator(r, ids)))(jnp.asarray(levels[groups]))
  chance = np.prod(share[groups], axis=1)
  mean = np.zeros(len(levels))
  for place in range(size):
    np.add.at(mean, groups[:, place], chance * np.asarray(a)[:, place] / size)
  return (mean / share)[level]


def gain_of_grpo(p, size):
  """E[A | right] − E[A | wrong] in a group of `size` with pass rate p, the std unbiased."""
  right = wrong = 0.0
  for others in range(size):  # right ones among the companions
    chance = math.comb(size - 1, others) * p**others * (1 - p) ** (size - 1 - others)
    for own in (0, 1):
      number = others + own
      if number in (0, size):
        continue
      std = math.sqrt(number * (size - number) / (size * (size - 1)))
      if own:
        right += chance * (1 - number / size) / std
      else:
        wrong -= chance * number / size / std
  return right - wrong


@pytest.mark.parametrize('size', [2, 3, 4, 8])
def test_grpo_is_the_gradient_weighted_by_the_pass_rate(size):
  # With rewards 0 and 1 the expected gradient is gain(p)·∇p.
  p = float(jnp.sum(tree.probabilities(THETA) * BINARY))
  grpo = functools.partial(advantages.group_normalize, epsilon=0.0)
  mean = over_groups(grpo, BINARY, size)
  assert close(seen_with(to_tokens(mean)), gain_of_grpo(p, size) * wanted('binary'))


def test_the_weight_of_grpo_depends_on_the_pass_rate_in_groups_of_four_and_more():
  for size, gain in ((2, 1 / math.sqrt(2)), (3, 2 / math.sqrt(3))):
    for p in (0.05, 0.3, 0.5):
      assert gain_of_grpo(p, size) == pytest.approx(gain)
  for size in (4, 8):
    assert gain_of_grpo(0.05, size) > 1.05 * gain_of_grpo(0.5, size)


def test_grpo_with_graded_rewards_climbs_another_hill():
  grpo = functools.partial(advantages.group_normalize, epsilon=0.0)
  seen, right = seen_with(to_tokens(over_groups(grpo, GRADED, 3))), wanted('graded')
  cosine = seen @ right / np.linalg.norm(seen) / np.linalg.norm(right)
  assert 0.5 < cosine < 0.999


def test_any_baseline_of_the_state_keeps_gae_unbiased():
  # A value of each prefix: of the empty one, of the first word, of the first two.
  words = tree.TREE[:, :2]
  values = np.stack([np.full(len(words), 0.7), words[:, 0] - 1.5, words @ np.array([0.3, -0.8])], 1)
  a, _ = advantages.gae(
    jnp.asarray(GRADED),
    jnp.zeros(MASK.shape),
    jnp.asarray(values),
    jnp.asarray(MASK),
    jnp.asarray(tree.SEGMENTS),
    jnp.asarray(tree.PLACES),
    jnp.zeros(len(words), bool),
    gae_lambda=1.0,
    whiten=False,
  )
  assert close(seen_with(a), wanted('graded'))
