"""Exact expected gradients on a tree of two steps with variable length.

Four tokens; token 0 ends a completion at step 1. So completions have one or two tokens, and what is
right only for one token, or only for one length, shows.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import advantages, losses, regularizers

V = 4
# The 13 completions: [0], and [a, b] for a in 1..3, b in 0..3; a short one has 0 in place 2.
TREE = np.array([[0, 0], *([a, b] for a in range(1, V) for b in range(V))])
MASK = np.array([[True, row[0] != 0] for row in TREE])
REWARDS = np.random.default_rng(3).integers(0, 2, len(TREE)).astype(float)


def make(seed, noise=1.0):
  rng = np.random.default_rng(seed)
  return {'first': noise * rng.normal(size=V), 'second': noise * rng.normal(size=(V, V))}


THETA, REFERENCE = make(0), make(1)
OLD = jax.tree.map(lambda x, y: x + 0.3 * y, THETA, make(2))


def distributions(theta):
  """Log-probs [13, 2, V] at the state before each token of each completion."""
  first = jnp.broadcast_to(jax.nn.log_softmax(theta['first']), (len(TREE), V))
  second = jax.nn.log_softmax(theta['second'])[TREE[:, 0]]
  return jnp.stack([first, second], axis=1)


def logprobs(theta):
  found = jnp.take_along_axis(distributions(theta), jnp.asarray(TREE)[..., None], axis=-1)
  return jnp.where(MASK, found[..., 0], 0)


def probabilities(theta):
  return jnp.exp(jnp.sum(logprobs(theta), axis=1))


def expected(token_loss, sampler, weights=MASK):
  """Σ_y P_sampler(y) Σ_t w_t·loss_t(θ) as a function of θ, the probabilities being constants."""

  def total(theta):
    loss = jnp.sum(jnp.where(MASK, token_loss(theta) * weights, 0), axis=1)
    return jnp.sum(jax.lax.stop_gradient(probabilities(sampler)) * loss)

  return total


def gradients(objectives):
  """Name -> ∇ at THETA, one program for all."""
  found = jax.jit(lambda t: {n: jax.grad(f)(t) for n, f in objectives.items()})(THETA)
  return {name: flat(tree) for name, tree in found.items()}


def gradient(objective):
  return gradients({'': objective})['']


def expected_gradient(token_loss, sampler):
  return gradient(expected(token_loss, sampler))


def flat(tree):
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def local(divergence, sampler):
  """Σ_t E_{s_t ~ sampler} divergence(log π(·|s_t), log ref(·|s_t)) as a function of θ."""

  def objective(theta):
    per_state = jnp.sum(divergence(distributions(theta), distributions(REFERENCE)), axis=-1)
    per_sample = jnp.sum(jnp.where(MASK, per_state, 0), axis=1)
    return jnp.sum(jax.lax.stop_gradient(probabilities(sampler)) * per_sample)

  return objective


def reverse(logp, logq):
  return jnp.exp(logp) * (logp - logq)


def forward(logp, logq):
  return jnp.exp(logq) * (logq - logp)


def negative_entropy(logp, logq):
  return jnp.exp(logp) * logp


def sequence_kl(theta):
  d = jnp.sum(logprobs(theta) - logprobs(REFERENCE), axis=1)
  return jnp.sum(probabilities(theta) * d)


def close(a, b):
  return np.linalg.norm(a - b) <= 1e-10 * max(1, np.linalg.norm(b))


def far(a, b):
  return np.linalg.norm(a - b) > 0.02 * np.linalg.norm(b)


def token_losses(sampler):
  """Name -> token loss of θ, for samples of `sampler`."""
  ref, old = logprobs(REFERENCE), logprobs(sampler)

  def d(theta):
    return logprobs(theta) - ref

  def full(theta):
    return jnp.sum(reverse(distributions(theta), distributions(REFERENCE)), axis=-1)

  def entropy(theta):
    return -jnp.sum(negative_entropy(distributions(theta), None), axis=-1)

  return {
    'reverse_kl': lambda t: regularizers.reverse_kl(logprobs(t), ref, old)[0],
    'full_reverse_kl': lambda t: regularizers.full_reverse_kl(full(t))[0],
    'forward_k3': lambda t: regularizers.forward_k3(logprobs(t), ref)[0],
    'k1_in_loss': lambda t: regularizers.k1_in_loss(logprobs(t), ref)[0],
    'k2 in loss': lambda t: regularizers.k2(d(t)),
    'ratio·k1': lambda t: jnp.exp(logprobs(t) - old) * regularizers.k1(d(t)),
    'ratio·k3': lambda t: jnp.exp(logprobs(t) - old) * regularizers.k3(d(t)),
    'sampled_entropy_bonus': lambda t: regularizers.sampled_entropy_bonus(logprobs(t), old)[0],
    'entropy_bonus': lambda t: regularizers.entropy_bonus(entropy(t))[0],
    'ℓ in loss': logprobs,
  }


@functools.cache
def wanted():
  """Gradients of the objectives that the forms are compared with."""
  inverse = 1 / MASK.sum(axis=1)
  return gradients(
    {
      'sequence': sequence_kl,
      'reverse': local(reverse, THETA),
      'reverse, old': local(reverse, OLD),
      'forward': local(forward, THETA),
      'forward, old': local(forward, OLD),
      '−entropy': local(negative_entropy, THETA),
      '−entropy, old': local(negative_entropy, OLD),
      'inverse length': lambda t: jnp.sum(probabilities(t) * inverse),
      '−reward': lambda t: -jnp.sum(probabilities(t) * REWARDS),
    }
  )


@functools.cache
def found(policy):
  """Expected gradients of all token losses, samples from 'now' or 'old'."""
  sampler = {'now': THETA, 'old': OLD}[policy]
  return gradients({n: expected(f, sampler) for n, f in token_losses(sampler).items()})


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def test_token_local_and_sequence_kl_differ_here():
  assert far(wanted()['sequence'], wanted()['reverse'])


@pytest.mark.parametrize('name', ['reverse_kl', 'full_reverse_kl', 'ratio·k1', 'ratio·k3'])
def test_unbiased_forms_give_the_token_local_kl(name):
  assert close(found('now')[name], wanted()['reverse'])
  assert close(found('old')[name], wanted()['reverse, old'])


def test_forms_that_hold_on_policy_only():
  assert close(found('now')['k2 in loss'], wanted()['reverse'])
  assert close(found('now')['forward_k3'], wanted()['forward'])
  assert far(found('now')['forward_k3'], wanted()['reverse'])
  for name in ('k2 in loss', 'forward_k3'):
    assert far(found('old')[name], wanted()['reverse, old']), name
    assert far(found('old')[name], wanted()['forward, old']), name


def test_k1_in_the_loss_is_nothing_or_a_length_bonus():
  assert np.linalg.norm(found('now')['k1_in_loss']) < 1e-12
  weights = MASK / MASK.sum(axis=1, keepdims=True)
  k1 = gradient(expected(token_losses(THETA)['k1_in_loss'], THETA, weights))
  assert close(k1, wanted()['inverse length']) and np.linalg.norm(k1) > 0.01


@pytest.mark.parametrize('name', ['sampled_entropy_bonus', 'entropy_bonus'])
def test_entropy(name):
  assert close(found('now')[name], wanted()['−entropy'])
  assert close(found('old')[name], wanted()['−entropy, old'])


def test_a_log_prob_in_the_loss_is_no_entropy_bonus():
  assert np.linalg.norm(found('now')['ℓ in loss']) < 1e-12


def test_value_and_gradient_per_sample():
  # ∇(ρ·k3) = sg(ρ·d)·∇ℓ = ∇(sg(ρ)·k2), sample by sample: all of them are this one form.
  ref, old, now = logprobs(REFERENCE), logprobs(OLD), logprobs(THETA)

  def slope(function):
    return jax.grad(lambda l: jnp.sum(function(l)))(now)

  own = slope(lambda l: regularizers.reverse_kl(l, ref, old)[0])
  ratio = jnp.exp(now - old)
  for other in (
    lambda l: jnp.exp(l - old) * regularizers.k3(l - ref),
    lambda l: ratio * regularizers.k2(l - ref),
  ):
    np.testing.assert_allclose(own, slope(other), atol=1e-12)
  value, seen = regularizers.reverse_kl(now, ref, old)
  np.testing.assert_allclose(value, regularizers.k3(now - ref), atol=1e-12)
  np.testing.assert_allclose(seen['kl_ref'], value, atol=1e-12)


def test_far_from_the_reference_the_value_is_bounded_and_the_gradient_is_not():
  l, ref = jnp.array([-30.0, -0.1]), jnp.array([-0.1, -60.0])
  value, seen = regularizers.reverse_kl(l, ref, l)
  gradient = jax.grad(lambda x: jnp.sum(regularizers.reverse_kl(x, ref, l)[0]))(l)
  np.testing.assert_allclose(value, [10, 10])
  np.testing.assert_allclose(gradient, [-29.9, 59.9])
  assert np.all(np.isfinite(seen['kl_ref']))


def test_golden_values_of_the_estimators():
  for d, k3 in ((0.3, 0.0408182), (-0.3, 0.0498588)):
    assert regularizers.k1(jnp.array(d)) == d
    assert regularizers.k2(jnp.array(d)) == pytest.approx(0.045)
    assert regularizers.k3(jnp.array(d)) == pytest.approx(k3, abs=1e-7)


def test_kl_in_the_reward():
  penalty = jnp.where(MASK, regularizers.kl_reward(logprobs(THETA), logprobs(REFERENCE))[0], 0)

  to_go = jnp.cumsum(penalty[:, ::-1], axis=1)[:, ::-1]
  whole = jnp.broadcast_to(jnp.sum(penalty, axis=1, keepdims=True), penalty.shape)
  k3 = jnp.where(MASK, regularizers.k3(penalty), 0)
  charges = {'to go': to_go, 'whole': whole, 'own token': penalty, 'k3, own token': k3}

  def reinforce(charge):  # taken off the reward, so the advantage is −charge
    return expected(lambda t: losses.reinforce(logprobs(t), -charge)[0], THETA)

  seen = gradients({name: reinforce(charge) for name, charge in charges.items()})
  assert close(seen['to go'], wanted()['sequence'])
  assert close(seen['whole'], wanted()['sequence'])
  assert close(seen['own token'], wanted()['reverse'])
  assert close(seen['k3, own token'], wanted()['reverse'] - wanted()['forward'])


# -- the policy gradient on the same tree ----------------------------------------------------------


def test_reinforce_is_the_gradient_of_the_expected_reward():
  a = jnp.broadcast_to(jnp.asarray(REWARDS)[:, None], MASK.shape)
  for loss in (
    lambda t: losses.reinforce(logprobs(t), a)[0],
    lambda t: losses.clipped_surrogate(logprobs(t), logprobs(THETA), a)[0],
  ):
    assert close(expected_gradient(loss, THETA), wanted()['−reward'])


@pytest.mark.parametrize(
  'estimator, factor',
  [
    (advantages.leave_one_out, 1.0),
    (lambda r, g: advantages.group_normalize(r, g, scale='none'), 1 / 2),
    (lambda r, g: advantages.group_normalize(r, g, epsilon=0.0), 1 / np.sqrt(2)),
  ],
  ids=['rloo', 'dr_grpo', 'grpo'],
)
def test_groups_of_two_with_binary_rewards(estimator, factor):
  # All 13² pairs as groups: A = ±1 (RLOO), ±½ (mean removed), ±1/√2 (unbiased std) if they differ.
  pairs = np.array(list(np.ndindex(len(TREE), len(TREE))))
  groups = np.repeat(np.arange(len(pairs)), 2).astype(np.int32)
  a = estimator(jnp.asarray(REWARDS[pairs.ravel()]), jnp.asarray(groups))
  a = np.asarray(a).reshape(-1, 2)
  p = np.asarray(probabilities(THETA))
  chance = p[pairs[:, 0]] * p[pairs[:, 1]]
  # Expected advantage of each completion, over its partner and both places in the pair.
  mean = np.zeros(len(TREE))
  for place in (0, 1):
    np.add.at(mean, pairs[:, place], chance * a[:, place] / 2)
  mean = jnp.broadcast_to(jnp.asarray(mean / p)[:, None], MASK.shape)
  seen = expected_gradient(lambda t: losses.reinforce(logprobs(t), mean)[0], THETA)
  assert close(seen, factor * wanted()['−reward'])


def test_any_baseline_of_the_state_keeps_gae_unbiased():
  values = np.where(TREE[:, :1] * np.array([[0, 1]]) > 0, 0.7, -0.4) * np.array([[1.0, 1.5]])
  segments = np.where(MASK, 0, -1).astype(np.int32)
  a, _ = advantages.gae(
    jnp.asarray(REWARDS),
    jnp.zeros(MASK.shape),
    jnp.asarray(values),
    jnp.asarray(MASK),
    jnp.asarray(segments),
    jnp.arange(len(TREE), dtype=jnp.int32)[:, None],
    jnp.zeros(len(TREE), bool),
    gae_lambda=1.0,
    whiten=False,
  )
  seen = expected_gradient(lambda t: losses.reinforce(logprobs(t), a)[0], THETA)
  assert close(seen, wanted()['−reward'])
