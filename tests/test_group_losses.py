"""Regressions of whole completions: where their optimum lies, identities, groups that do not count.

The parametrised suite of losses holds them to the formulas; here a policy is a table of logits over
five completions, all of which are in the group, so that its optimum is known.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import advantages, losses

REWARDS = np.array([1.0, 0.0, 0.3, -0.5, 0.0])
START = np.array([0.2, -0.4, 0.0, 0.5, -1.0])
GROUP = np.zeros(5, np.int32)
ONES = np.ones(5)


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def log_policy(logits):
  return jax.nn.log_softmax(jnp.asarray(logits))


def of_table(function, *arrays, **hyper):
  """The loss of the table as a function of its logits; the first policy is old and reference."""
  start = log_policy(START)
  anchors = 2 if function is losses.flow_rl else 1

  def loss(logits):
    anchor = (start,) * anchors
    return jnp.sum(function(log_policy(logits), *anchor, REWARDS, *arrays, **hyper)[0])

  return loss


def tilted(rewards):
  """π ∝ π°·exp(rewards)."""
  return jax.nn.softmax(jnp.asarray(START + rewards))


def optimal_value(beta):
  return beta * jnp.log(jnp.sum(jnp.exp(log_policy(START)) * jnp.exp(REWARDS / beta)))


def normal(epsilon=1e-6):
  return (REWARDS - REWARDS.mean()) / (REWARDS.std(ddof=1) + epsilon)


TABLES = {
  'rebel': lambda: (of_table(losses.rebel, GROUP, eta=1.5), tilted(1.5 * REWARDS)),
  'gvpo': lambda: (of_table(losses.gvpo, GROUP, beta=0.5), tilted(REWARDS / 0.5)),
  'reg_grpo': lambda: (of_table(losses.reg_grpo, GROUP, beta=0.8), tilted(normal() / 0.8)),
  'a_star': lambda: (
    of_table(losses.a_star, optimal_value(0.7) * ONES, GROUP, kl_coef=0.7),
    tilted(REWARDS / 0.7),
  ),
  'flow_rl': lambda: (of_table(losses.flow_rl, GROUP, ONES, beta=0.9), tilted(0.9 * normal())),
}


@pytest.mark.parametrize('name', TABLES)
def test_the_optimum_is_the_reference_tilted_by_the_reward(name):
  loss, expected = TABLES[name]()

  def descend(_, logits):
    slope, curve = jax.grad(loss)(logits), jax.hessian(loss)(logits)
    damped = curve + 1e-3 * jnp.eye(5) * jnp.trace(curve)
    return logits - jnp.linalg.solve(damped, slope)

  found = jax.jit(lambda x: jax.lax.fori_loop(0, 200, descend, x))(jnp.asarray(START))
  np.testing.assert_allclose(jax.nn.softmax(found), expected, atol=1e-8)
  assert loss(found) == pytest.approx(0, abs=1e-14)
  assert loss(jnp.asarray(START)) > 1e-3


def test_the_learned_partition_is_that_of_the_tilted_reference():
  value = jnp.log(jnp.sum(jnp.exp(log_policy(START) + 0.9 * normal())))
  at_optimum = log_policy(jnp.log(tilted(0.9 * normal())))

  def loss(policy, log_partition):
    start = log_policy(START)
    arrays = (policy, start, start, REWARDS, GROUP, ONES, log_partition * ONES)
    return jnp.sum(losses.flow_rl(*arrays, beta=0.9)[0])

  assert loss(at_optimum, value) == pytest.approx(0, abs=1e-12)
  assert jax.grad(loss, 1)(at_optimum, value) == pytest.approx(0, abs=1e-6)
  # Too small a log Z grows, whatever the policy.
  assert jax.grad(loss, 1)(log_policy(START), value - 10) < 0


RAGGED = np.array([2, 0, 2, -1, 0, 2, 1, 0, 3, 3], np.int32)  # 1 is alone, −1 unused
SUMS, OLD = np.random.default_rng(7).normal(size=(2, 10)) * 3 - 9
SCORES = np.array([0.3, 1.0, -0.2, 5.0, 0.0, 1.0, 0.7, 1.0, 0.5, 0.5])


def test_gvpo_is_a_quarter_of_rebel():
  arrays = (OLD, SCORES, RAGGED)

  def both(function, **hyper):
    step = jax.value_and_grad(lambda x: jnp.sum(function(x, *arrays, **hyper)[0]))
    return jax.jit(step)(SUMS)

  loss, slope = both(losses.gvpo, beta=0.4)
  other, expected = both(losses.rebel, eta=2.5)
  assert loss == pytest.approx(other / 4)
  np.testing.assert_allclose(slope, expected / 4, atol=1e-12)


def slope_of(function, sums, old, rewards, groups, **hyper):
  total = jax.grad(lambda x: jnp.sum(function(x, old, rewards, groups, **hyper)[0]))
  return jax.jit(total)(jnp.asarray(sums))


def test_the_first_gradient_is_that_of_a_group_relative_advantage():
  groups, scores = jnp.asarray(RAGGED), jnp.asarray(SCORES)
  counts = np.array([max(np.sum(RAGGED == g), 2) for g in RAGGED])
  centred = np.asarray(advantages.group_normalize(scores, groups, scale='none'))
  found = slope_of(losses.gvpo, OLD, OLD, SCORES, RAGGED, beta=0.4)
  np.testing.assert_allclose(found, -0.4 * centred / (counts - 1), atol=1e-12)
  scaled = np.asarray(advantages.group_normalize(scores, groups))
  found = slope_of(losses.reg_grpo, OLD, OLD, SCORES, RAGGED)
  np.testing.assert_allclose(found, -2 * scaled / counts, atol=1e-12)
  # Rewards are equal in group 3, and group 1 is one sample: exactly nothing.
  for function in (losses.gvpo, losses.rebel, losses.reg_grpo):
    assert not np.any(slope_of(function, OLD, OLD, SCORES, RAGGED)[np.isin(RAGGED, [-1, 1, 3])])


def test_deepvideo_r1_pulls_back_what_has_overshot_the_advantage():
  scaled = np.asarray(advantages.group_normalize(jnp.asarray(SCORES), jnp.asarray(RAGGED)))
  counts = np.array([max(np.sum(RAGGED == g), 2) for g in RAGGED])
  for reached, left in ((0.5, 0.5), (1, 0), (2, -1)):
    found = slope_of(losses.reg_grpo, OLD + reached * scaled, OLD, SCORES, RAGGED)
    np.testing.assert_allclose(found, -2 * left * scaled / counts, atol=1e-12)


def test_normalising_the_log_ratio_is_safe_in_the_first_step():
  hyper = {'scale_log_ratio': True, 'min_std': 0.25}
  found = slope_of(losses.reg_grpo, OLD, OLD, SCORES, RAGGED, **hyper)
  plain = slope_of(losses.reg_grpo, OLD, OLD, SCORES, RAGGED)
  np.testing.assert_allclose(found, plain / 0.25, atol=1e-12)


def run(name, sums, rewards, groups):
  length = jnp.full(10, 4.0)
  more = {
    'a_star': (rewards, 0 * rewards, groups),
    'flow_rl': (OLD, rewards, groups, length),
  }
  return getattr(losses, name)(sums, OLD, *more.get(name, (rewards, groups)))[0]


FUNCTIONS = ('rebel', 'gvpo', 'reg_grpo', 'a_star', 'oapl', 'flow_rl', 'pacs')


@pytest.mark.parametrize('name', FUNCTIONS)
def test_unscorable_and_unused_samples_count_nowhere(name):
  rewards = np.where(np.arange(10) == 2, np.nan, SCORES)
  groups = np.where(np.arange(10) == 2, -1, RAGGED)
  sums = np.where(RAGGED < 0, np.nan, SUMS)

  def total(x, rewards, groups):
    return jnp.sum(run(name, x, rewards, groups))

  step = jax.jit(jax.value_and_grad(total))
  found = step(jnp.asarray(sums), jnp.asarray(rewards), RAGGED)
  expected = step(jnp.asarray(SUMS), jnp.asarray(SCORES), groups)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert found[0] > 0 and not np.any(np.asarray(found[1])[[2, 3]])


@pytest.mark.parametrize('function', [losses.rebel, losses.gvpo, losses.reg_grpo])
def test_a_completion_without_tokens_is_in_no_group_and_carries_no_loss(function):
  length = np.where(np.isin(np.arange(10), [0, 1]), 0.0, 4.0)  # the first of groups 2 and 0
  groups = np.where(length > 0, RAGGED, -1)

  def total(x, *rest):
    loss = function(x, OLD, SCORES, *rest)[0]
    return jnp.sum(loss), loss

  step = jax.jit(jax.value_and_grad(total, has_aux=True))
  found = step(jnp.asarray(SUMS), RAGGED, length)
  jax.tree.map(np.testing.assert_array_equal, found, step(jnp.asarray(SUMS), groups))
  np.testing.assert_array_equal(np.flatnonzero(found[0][1]), [2, 4, 8])


@pytest.mark.parametrize('name', FUNCTIONS)
def test_where_a_loss_stands(name):
  loss = np.asarray(jax.jit(run, static_argnums=0)(name, SUMS, SCORES, RAGGED))
  grouped = getattr(losses, name).declared.denominator == 'groups'
  # The first of groups 2, 0 and 3, or every used sample; alone, a sample fits its own partition,
  # or has no others to be scored against.
  alone = [6] if name in ('flow_rl', 'pacs') else []
  stands = [0, 1, 8] if grouped else [i for i in range(10) if i not in (3, *alone)]
  assert np.all(loss[stands] > 0)
  assert not np.any(np.delete(loss, stands))


def test_karl_values_a_prompt_between_the_mean_and_the_maximum_of_the_group():
  def value(temperature):
    _, seen = losses.oapl(
      OLD, OLD, SCORES, RAGGED, value_temperature=temperature, kl_coef=1.0
    )
    return np.asarray(seen['residual']) + SCORES

  used = RAGGED >= 0
  mean = np.array([SCORES[RAGGED == g].mean() for g in RAGGED])
  top = np.array([SCORES[RAGGED == g].max() for g in RAGGED])
  np.testing.assert_allclose(value(1e6)[used], mean[used], atol=1e-5)
  np.testing.assert_allclose(value(1e-3)[used], top[used], atol=2e-3)
  between = value(1.0)
  assert np.all((between >= mean)[used]) and np.all((between <= top)[used])


def test_an_estimated_partition_centres_the_residuals_and_ignores_the_scale_of_the_reference():
  length = np.array([3.0, 5, 2, 1, 4, 4, 2, 6, 3, 3])

  def found(sums, ref):
    return losses.flow_rl(sums, OLD, ref, SCORES, RAGGED, length)

  loss, seen = found(SUMS, OLD)
  for group in (0, 1, 2, 3):
    assert np.sum(np.asarray(seen['residual'])[RAGGED == group]) == pytest.approx(0, abs=1e-9)
  shifted, _ = found(SUMS, OLD + 0.7 * length)
  np.testing.assert_allclose(shifted, loss, rtol=1e-9, atol=1e-12)


def test_the_first_gradient_of_pacs_is_rloo_and_then_the_score_stands_in_for_the_baseline():
  labels = (SCORES > 0.5).astype(float)
  counts = np.array([np.sum(RAGGED == g) for g in RAGGED])
  rloo = np.asarray(advantages.leave_one_out(jnp.asarray(labels), jnp.asarray(RAGGED)))
  hyper = {'beta': 0.4, 'class_weight': 'none'}
  found = slope_of(losses.pacs, OLD, OLD, SCORES, RAGGED, **hyper)
  np.testing.assert_allclose(found, -0.4 * rloo, atol=1e-12)
  # Balanced, the right and the wrong ones of a mixed group weigh the same.
  found = slope_of(losses.pacs, OLD, OLD, SCORES, RAGGED, beta=0.4)
  right = np.array([np.sum(labels[RAGGED == g]) for g in RAGGED])
  mixed = (RAGGED >= 0) & (right > 0) & (right < counts)
  same = np.where(labels > 0, right, counts - right)
  expected = -0.4 * counts / np.maximum(counts - 1, 1) * counts * (labels - 0.5) / (2 * same)
  assert np.any(mixed)
  np.testing.assert_allclose(found, np.where(mixed, expected, 0), atol=1e-12)
  # A policy whose scores are right already has nothing left to learn.
  known = OLD + 200 * (labels - 0.5)
  found = slope_of(losses.pacs, known, OLD, SCORES, RAGGED, **hyper)
  np.testing.assert_allclose(found[mixed], 0, atol=1e-6)


def test_a_completion_without_tokens_has_no_part_in_pacs():
  length = np.where(np.isin(np.arange(10), [0, 1]), 0.0, 4.0)
  groups = np.where(length > 0, RAGGED, -1)
  found = losses.pacs(SUMS, OLD, SCORES, RAGGED, length)[0]
  np.testing.assert_array_equal(found, losses.pacs(SUMS, OLD, SCORES, groups)[0])
  assert np.any(found) and not np.any(found[:2])


def test_gradients_of_groups_have_no_scatter():
  for name in FUNCTIONS:
    program = jax.make_jaxpr(
      jax.grad(lambda x, n=name: jnp.sum(run(n, x, jnp.asarray(SCORES), RAGGED)))
    )(jnp.asarray(SUMS))
    assert 'scatter' not in str(program)
