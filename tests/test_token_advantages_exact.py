"""Advantages per token: golden values, and expectations over all completions of a small tree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import advantages
from rljax.binding import signature


def rows(num_tokens, **arrays):
  """A batch of samples with one row each: `num_tokens` action tokens, the last ones are padding."""
  num, width = len(num_tokens), max(num_tokens)
  inside = np.arange(width) < np.array(num_tokens)[:, None]
  batch = {
    'rewards': np.zeros(num),
    'token_rewards': np.zeros((num, width)),
    'action_mask': inside,
    'segment_ids': np.where(inside, 0, -1).astype(np.int32),
    'sample_ids': np.arange(num, dtype=np.int32)[:, None],
    'sample_slots': np.arange(num, dtype=np.int32),
    'group_ids': np.zeros(num, np.int32),
    'truncated': np.zeros(num, bool),
    'values': np.zeros((num, width)),
  }
  return batch | {n: np.asarray(x) for n, x in arrays.items()}


def call(function, batch, **hyper):
  """The result in float32."""
  arrays = [batch[n] for n in signature(function).arrays]
  arrays = [jnp.asarray(x, jnp.float32 if x.dtype == np.float64 else None) for x in arrays]
  return function(*arrays, **hyper)


def test_gae_golden_values():
  # γ = 1, λ = 0.95, a masked token in place 2; the masked token carries 0.6 to its left.
  batch = rows([4], rewards=[1.0], values=[[0.1, 0.2, 0.9, 0.4]])
  batch['action_mask'] = np.array([[True, True, False, True]])
  found, returns = call(advantages.gae, batch, whiten=False)
  np.testing.assert_allclose(found, [[0.8315, 0.77, 0, 0.6]], atol=1e-6)
  np.testing.assert_allclose(returns, [[0.9315, 0.97, 0, 1.0]], atol=1e-6)


def test_the_lambda_of_vapo_rises_with_the_length_from_zero():
  batch = rows([2, 8], rewards=[1.0, 1.0], values=np.full((2, 8), 0.5))
  found, returns = call(
    advantages.gae, batch, length_alpha=0.25, critic_lambda=1.0, whiten=False
  )
  np.testing.assert_allclose(found[0, :2], [0, 0.5])  # 8·0.25 = 2: λ would be −1, and is 0
  np.testing.assert_allclose(found[1], 0.5 * 0.5 ** np.arange(7, -1, -1), rtol=1e-6)  # λ = ½
  np.testing.assert_array_equal(returns, np.where(batch['action_mask'], 1, 0))


def test_golden_values_of_reinforce_pp_baseline():
  # R = [1, 0, 0, 1 | ½ × 4] with lengths [3, 5, 2, 6 | 3 × 4].
  rewards = np.array([1, 0, 0, 1, 0.5, 0.5, 0.5, 0.5])
  groups = np.array([0] * 4 + [1] * 4, np.int32)
  batch = rows([3, 5, 2, 6, 3, 3, 3, 3], rewards=rewards, group_ids=groups)
  of_peers = call(advantages.reinforce_pp_baseline, batch, keep_zero_variance=True)
  np.testing.assert_allclose(of_peers[4:, :3], -0.0932, atol=5e-5)
  ours = call(advantages.reinforce_pp_baseline, batch)
  np.testing.assert_array_equal(ours[:4], of_peers[:4])
  assert not np.any(ours[4:])


def test_whiten():
  rng = np.random.default_rng(0)
  x, mask = rng.normal(size=(3, 8)), rng.random((3, 8)) < 0.6
  found = advantages.whiten(jnp.where(mask, x, np.nan), jnp.asarray(mask))
  assert found[mask].mean() == pytest.approx(0, abs=1e-6)
  assert found[mask].std(ddof=1) == pytest.approx(1, abs=1e-6)
  assert not np.any(found[~mask])
  assert not np.any(advantages.whiten(jnp.full((3, 8), 0.1), jnp.asarray(mask)))


def test_the_optimal_token_baseline_has_the_least_variance():
  # One decision, sampled as often as it is likely: the weights are squared norms of scores, and
  # the baseline minimises Σ ‖score‖²·(G − b)².
  policy, drawn = np.array([0.5, 0.25, 0.25]), np.array([0, 0, 1, 2])
  rewards = np.array([1.0, 1.0, 0.2, -0.4])
  scores = jax.vmap(jax.grad(lambda l, a: jax.nn.log_softmax(l)[a]), (None, 0))(
    jnp.log(jnp.asarray(policy)), jnp.asarray(drawn)
  )
  norms = np.sum(np.asarray(scores) ** 2, axis=-1)
  batch = rows([1] * 4, rewards=rewards, old_logprobs=np.log(policy[drawn])[:, None])
  batch['old_sum_squares'] = np.full((4, 1), np.sum(policy**2))
  batch['policy_logprobs'] = batch['old_logprobs']
  found = call(advantages.optimal_token_baseline, batch)[:, 0]
  np.testing.assert_allclose(found, rewards - np.sum(norms * rewards) / np.sum(norms), atol=1e-6)
  assert np.sum(norms * found) == pytest.approx(0, abs=1e-6)
  for moved in (-0.1, 0.1):
    assert np.sum(norms * (found + moved) ** 2) > np.sum(norms * found**2)


def test_gigpo_compares_turns_from_the_same_state():
  # Two samples of two turns of one token; they begin in the same state and part.
  batch = rows([2, 2], rewards=[1.0, 0.0], turn_ids=[[0, 1]] * 2, state_ids=[[7, 3], [7, 5]])
  found = call(advantages.gigpo, batch)
  np.testing.assert_allclose(found, [[2**0.5, 0.5**0.5], [-(2**0.5), -(0.5**0.5)]], rtol=1e-4)
  # The same states in different groups are different.
  apart = call(advantages.gigpo, batch | {'group_ids': np.array([0, 1], np.int32)})
  assert not np.any(apart)


def test_turn_leave_one_out_asks_those_that_have_the_turn():
  batch = rows([3, 2, 1], rewards=[1.0, 0.0, 0.5], turn_ids=[[0, 1, 2]] * 3)
  found = call(advantages.turn_leave_one_out, batch)
  np.testing.assert_allclose(found, [[0.75, 1, 0], [-0.75, -1, 0], [0, 0, 0]], atol=1e-6)
  batch['turn_ids'] = np.zeros((3, 3), np.int32)
  one_turn = call(advantages.turn_leave_one_out, batch)
  rloo = call(advantages.leave_one_out, batch)
  np.testing.assert_allclose(one_turn[:, 0], rloo, atol=1e-6)


def test_entropy_keeps_the_sign_of_the_advantage():
  a = jnp.array([[-2.0, -0.1, 0.0, 0.1, 2.0]])
  mask = jnp.ones_like(a, bool)
  for entropy in (0.0, 0.5, 50.0):
    found = advantages.entropy_shaped(a, mask, jnp.full_like(a, entropy))
    np.testing.assert_array_equal(np.sign(found), np.sign(a))
    assert np.all(found >= a)
  np.testing.assert_allclose(found, [[-1, -0.05, 0, 0.15, 3]], rtol=1e-6)


def test_what_cannot_be_meant_is_an_error():
  batch = rows([2, 1])
  for name in ('turn_ids', 'advantages', 'policy_logprobs'):
    batch[name] = np.zeros((2, 2))
  with pytest.raises(ValueError, match="scope 'grop'"):
    call(advantages.step_reinforce, batch, scope='grop')
  with pytest.raises(ValueError, match='give low, high or both'):
    call(advantages.clip_advantages, batch)
  with pytest.raises(ValueError, match='cuts_per_step is 0'):
    call(advantages.low_probability_cuts, batch, cuts_per_step=0)


# -- expected gradients: all completions of up to three tokens, of three ---------------------------

EOS, DEPTH = 2, 3
STATES = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1)]
COMPLETIONS = [
  tokens
  for length in range(1, DEPTH + 1)
  for tokens in np.ndindex(*(3,) * length)
  if EOS not in tokens[:-1] and (tokens[-1] == EOS or length == DEPTH)
]


class Tree:
  """A softmax for each state, a reward for each decision and for each completion."""

  def __init__(self):
    rng = np.random.default_rng(0)
    self.theta = jnp.asarray(rng.normal(size=(len(STATES), 3)))
    self.decision = rng.normal(size=(len(STATES), 3))
    self.outcome = rng.normal(size=len(COMPLETIONS))

  def logprobs(self, theta):
    """[completions, DEPTH], 0 after the end."""
    table = jax.nn.log_softmax(theta)
    found = [
      [table[STATES.index(y[:t]), y[t]] if t < len(y) else 0.0 for t in range(DEPTH)]
      for y in COMPLETIONS
    ]
    return jnp.stack([jnp.stack([jnp.asarray(x) for x in row]) for row in found])

  def objective(self, theta):
    total = jnp.asarray(self.outcome + self.batch()['token_rewards'].sum(axis=1))
    return jnp.sum(jnp.exp(self.logprobs(theta).sum(axis=1)) * total)

  def gradient(self, advantage):
    """E Σ_t A_t·∇ log π of advantages at the slots of `batch`."""
    logprobs = self.logprobs(self.theta)
    weights = jnp.exp(logprobs.sum(axis=1, keepdims=True)) * jnp.asarray(advantage)[:, ::2]
    return jax.grad(lambda theta: jnp.sum(weights * self.logprobs(theta)))(self.theta)

  def values(self):
    """state -> expected reward from there on."""
    probs, found = np.exp(jax.nn.log_softmax(self.theta)), {}
    for state in reversed(STATES):
      row = STATES.index(state)
      ends = [self.outcome[COMPLETIONS.index(y)] if y in COMPLETIONS else found[y]
              for y in ((*state, a) for a in range(3))]  # fmt: skip
      found[state] = float(np.sum(probs[row] * (self.decision[row] + ends)))
    return found

  def batch(self):
    """One row for each completion; a token that nobody sampled after each token."""
    num, width = len(COMPLETIONS), 2 * DEPTH
    batch = rows([2 * len(y) for y in COMPLETIONS], rewards=self.outcome)
    batch['action_mask'] = batch['action_mask'] & (np.arange(width) % 2 == 0)
    for name in ('policy_logprobs', 'state_values'):
      batch[name] = np.zeros((num, width))
    for i, y in enumerate(COMPLETIONS):
      for t, token in enumerate(y):
        # The reward of a decision comes with the answer to it.
        batch['token_rewards'][i, 2 * t + 1] = self.decision[STATES.index(y[:t]), token]
    batch['turn_ids'] = np.broadcast_to(np.arange(width, dtype=np.int32) // 4, (num, width))
    batch['baseline_rewards'] = np.full(num, 0.7)
    return batch

  def batch_with_values(self):
    batch, values = self.batch(), self.values()
    batch['policy_logprobs'][:, ::2] = self.logprobs(self.theta)
    for i, y in enumerate(COMPLETIONS):
      for t in range(len(y)):
        batch['values'][i, 2 * t] = batch['state_values'][i, 2 * t] = values[y[:t]]
    return batch


def test_expected_gradients_are_those_of_the_expected_reward():
  with jax.enable_x64(True):
    tree = Tree()
    batch, exact = tree.batch_with_values(), jax.grad(tree.objective)(tree.theta)
    assert np.sum(np.exp(tree.logprobs(tree.theta).sum(axis=1))) == pytest.approx(1)

    def found(function, **hyper):
      arrays = [jnp.asarray(batch[n]) for n in signature(function).arrays]
      return function(*arrays, **hyper)

    estimates = {
      'reward to go': found(advantages.reward_to_go),
      'greedy baseline': found(advantages.remax),
      'turns': found(advantages.turn_returns),
    }
    for decay in (0.0, 0.5, 1.0):
      options = dict(gae_lambda=decay, critic_lambda=1.0, whiten=False)
      estimates[f'gae {decay}'], returns = found(advantages.gae, **options)
    for cuts in (1, 2):  # where steps end depends on what was sampled before
      step_ids = found(advantages.low_probability_cuts, max_probability=0.4, cuts_per_step=cuts)
      batch['step_ids'] = np.asarray(step_ids)
      assert len(np.unique(step_ids)) > 2
      estimates[f'steps of {cuts}'] = found(advantages.state_value_differences)
    for name, advantage in estimates.items():
      np.testing.assert_allclose(tree.gradient(advantage), exact, atol=1e-12, err_msg=name)
    # A discount is another objective, and values that are wrong are no baseline for λ < 1.
    discounted = tree.gradient(found(advantages.reward_to_go, gamma=0.5))
    assert np.max(np.abs(discounted - exact)) > 0.01
    batch['values'] = batch['values'] + np.arange(2 * DEPTH)
    biased = tree.gradient(found(advantages.gae, gae_lambda=0.5, whiten=False)[0])
    assert np.max(np.abs(biased - exact)) > 0.01
    unbiased = tree.gradient(found(advantages.gae, gae_lambda=1.0, whiten=False)[0])
    np.testing.assert_allclose(unbiased, exact, atol=1e-12)
    # The returns that the value function learns are its values, on average.
    probability = np.exp(tree.logprobs(tree.theta).sum(axis=1))
    for state, value in tree.values().items():
      through = np.array([y[: len(state)] == state and len(y) > len(state) for y in COMPLETIONS])
      weights = probability * through
      mean = np.sum(weights * np.asarray(returns)[:, 2 * len(state)]) / np.sum(weights)
      assert mean == pytest.approx(value, abs=1e-12)


def test_the_distillation_penalty_follows_the_token_local_kl():
  with jax.enable_x64(True):
    tree = Tree()
    batch, teacher = tree.batch_with_values(), jnp.roll(tree.theta, 1, axis=0)
    old, wanted = np.zeros_like(batch['values']), np.zeros_like(batch['values'])
    old[:, ::2], wanted[:, ::2] = tree.logprobs(tree.theta), tree.logprobs(teacher)
    zeros = jnp.zeros(old.shape)
    mask = jnp.asarray(batch['action_mask'])
    found = advantages.distillation_penalty(zeros, mask, jnp.asarray(old), jnp.asarray(wanted))
    probability = np.exp(tree.logprobs(tree.theta).sum(axis=1))
    reached = np.array([
      sum(p for p, y in zip(probability, COMPLETIONS) if y[: len(s)] == s and len(y) > len(s))
      for s in STATES
    ])  # fmt: skip

    def divergence(theta):
      l, t = jax.nn.log_softmax(theta), jax.nn.log_softmax(teacher)
      return jnp.sum(reached * jnp.sum(jnp.exp(l) * (l - t), axis=-1))

    exact = -jax.grad(divergence)(tree.theta)
    np.testing.assert_allclose(tree.gradient(found), exact, atol=1e-12)
