"""Papers whose mechanism is that of a preset: what the functions of their configs do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import binding, config, losses, objective


def of_config(key, *path):
  """(function, hyper-parameters) of a node of a paper's config."""
  node = config.plain(config.resolve(config.load(str(config.find(f'papers/{key}')))))
  for name in path:
    node = node[name]
  return binding.resolve(node['name']), {k: v for k, v in node.items() if k != 'name'}


def test_forking_tokens_learns_at_the_fifth_of_highest_entropy():
  function, hyper = of_config('forking_tokens', 'rl', 'selections', 'forking')
  entropy = jnp.array([[0.1, 2.0, 0.3, 0.2, 0.5, 0.4, 1.5, 0.6, 0.7, 0.8]])
  where = jnp.ones((1, 10), bool)
  keep, _ = function(entropy, where, jnp.zeros((1, 10), jnp.int32), **hyper)
  np.testing.assert_array_equal(np.flatnonzero(keep[0]), [1, 6])


def test_nsr_counts_wrong_answers_in_full_and_right_ones_a_tenth():
  function, hyper = of_config('nsr', 'rl', 'advantage')
  found = function(jnp.array([1.0, 0.0, 1.0]), jnp.array([0, 0, 1]), **hyper)
  np.testing.assert_allclose(found, [0.1, -1.0, 0.1], rtol=1e-6)


def test_lite_ppo_divides_by_the_deviation_of_the_batch():
  """Groups of other spread keep their sizes beside each other."""
  function, hyper = of_config('lite_ppo', 'rl', 'advantage')
  rewards, groups = jnp.array([0.0, 1.0, 0.0, 0.2]), jnp.array([0, 0, 1, 1])
  found = function(rewards, groups, **hyper)
  assert found[1] / found[3] == pytest.approx(0.5 / 0.1, rel=1e-4)


def test_open_rs_pays_for_short_right_answers_and_long_wrong_ones():
  function, hyper = of_config('open_rs', 'rl', 'reward_shaping', 'length')
  rewards, lengths = jnp.array([1.0, 1.0, 0.0, 0.0]), jnp.array([2, 11, 2, 11])
  short, long, wrong_short, wrong_long = function(rewards, lengths, **hyper)
  assert short > long > wrong_long > wrong_short


def test_hl_gauss_draws_a_histogram_of_values_to_the_return():
  function, hyper = of_config('hl_gauss', 'rl', 'value')
  node = config.resolve(config.load(str(config.find('papers/hl_gauss')))).rl
  logits = jnp.zeros((1, 1, objective.value_outputs(node)))
  returns, where = jnp.full((1, 1), 0.8), jnp.ones((1, 1), bool)
  ends = {name: hyper[name] for name in ('low', 'high')}
  for _ in range(200):
    slope = jax.grad(lambda z: function(z, returns, where, **hyper)[0].sum())(logits)
    logits = logits - 2.0 * slope
  assert losses.hl_gauss_mean(logits, **ends)[0, 0] == pytest.approx(0.8, abs=0.05)


def test_lipo_weighs_a_pair_by_what_its_order_is_worth():
  """The best against the worst counts more than two neighbours at the end of the list."""
  function, hyper = of_config('lipo', 'preference', 'loss')
  groups, rewards = jnp.zeros(4, jnp.int32), jnp.array([3.0, 2.0, 1.0, 0.0])
  reference = jnp.zeros(4)

  def loss(scores):
    return jnp.sum(function(scores, reference, rewards, groups, **hyper)[0])

  slope = jax.grad(loss)(jnp.zeros(4))
  assert slope[0] < 0 < slope[3] and abs(slope[0]) > abs(slope[2])
