"""Parity with rlax, where both have the function: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import advantages, logprobs, losses, regularizers

rlax = pytest.importorskip('rlax', reason="needs rlax: pip install '.[parity]'")

T = 24


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def close(ours, theirs):
  np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('gae_lambda', [0.0, 0.9, 1.0])
@pytest.mark.parametrize('gamma', [0.95, 1.0])
def test_gae(rng, gamma, gae_lambda):
  """Two samples in each of two rows, prompts and padding between them; rlax sees each alone."""
  places = {0: (0, 4, 12), 1: (0, 14, 21), 2: (1, 1, 8), 3: (1, 9, 24)}  # row, completion's slots
  segment_ids = np.full((2, T), -1, np.int32)
  action_mask = np.zeros((2, T), bool)
  for sample, (row, first, end) in places.items():
    prompt = places[sample - 1][2] if sample % 2 else 0
    segment_ids[row, prompt:end] = sample % 2
    action_mask[row, first:end] = True
  rewards = rng.normal(size=4).astype(np.float32)
  token_rewards, values = rng.normal(size=(2, 2, T)).astype(np.float32)

  found, returns = advantages.gae(
    rewards, token_rewards * action_mask, values, action_mask, segment_ids,
    np.array([[0, 1], [2, 3]], np.int32), np.zeros(4, bool),
    gamma=gamma, gae_lambda=gae_lambda, whiten=False,
  )  # fmt: skip
  for sample, (row, first, end) in places.items():
    reward = token_rewards[row, first:end].copy()
    reward[-1] += rewards[sample]
    value = np.append(values[row, first:end], np.float32(0))  # the end is terminal
    discount = np.full(end - first, gamma, np.float32)
    theirs = rlax.truncated_generalized_advantage_estimation(
      jnp.asarray(reward), jnp.asarray(discount), gae_lambda, jnp.asarray(value)
    )
    close(found[row, first:end], theirs)
    close(returns[row, first:end], theirs + value[:-1])
  assert not np.any(np.where(action_mask, 0, found))


def test_clipped_surrogate(rng):
  """Ratios below, in and above the band, with advantages of both signs."""
  old = -rng.uniform(0.5, 2, T).astype(np.float32)
  now = old + rng.choice([-0.5, -0.1, 0.1, 0.5], T).astype(np.float32)
  advantage = rng.normal(size=T).astype(np.float32)

  def ours(now):
    return jnp.mean(losses.clipped_surrogate(now, old, advantage, clip_low=0.2, clip_high=0.2)[0])

  def theirs(now):
    return rlax.clipped_surrogate_pg_loss(jnp.exp(now - old), jnp.asarray(advantage), 0.2)

  for a, b in zip(*(jax.value_and_grad(f)(jnp.asarray(now)) for f in (ours, theirs))):
    close(a, b)


def test_entropy(rng):
  """The bonus over a vocabulary of 11, through the chunked pass that makes the entropies."""
  logits = jnp.asarray(rng.normal(scale=2, size=(1, T, 11)), jnp.float32)
  tokens = jnp.asarray(rng.integers(11, size=(1, T)), jnp.int32)
  weights = jnp.asarray(rng.uniform(size=T - 1), jnp.float32)

  def ours(logits):
    segment_ids, one = jnp.zeros((1, T), jnp.int32), jnp.ones((1, T))
    entropy = logprobs.token_statistics(
      lambda _, hidden: hidden, {}, logits, tokens, segment_ids,
      temperature=one, statistics=('entropy',), chunk_size=8,
    )['entropy']  # fmt: skip
    return jnp.mean(regularizers.entropy_bonus(entropy)[0][0, 1:] * weights)

  def theirs(logits):
    return rlax.entropy_loss(logits[0, :-1], weights)  # slot t is drawn from the logits of t − 1

  for a, b in zip(*(jax.value_and_grad(f)(logits) for f in (ours, theirs))):
    close(a, b)


@pytest.mark.parametrize('delta', [0.3, 1.0])
def test_huber_value(rng, delta):
  """Without PPO's clip, errors on both sides of the bound."""
  values, returns = rng.normal(size=(2, T)).astype(np.float32)

  def ours(values):
    return jnp.sum(losses.huber_value(values, values, returns, delta=delta, clip=None)[0])

  def theirs(values):
    return jnp.sum(rlax.huber_loss(values - returns, delta))

  for a, b in zip(*(jax.value_and_grad(f)(jnp.asarray(values)) for f in (ours, theirs))):
    close(a, b)


@pytest.mark.filterwarnings('ignore:Rlax categorical_kl_divergence')
def test_full_reverse_kl(rng):
  """Over a vocabulary of 11, through the chunked pass that makes the divergences."""
  logits, reference = (
    jnp.asarray(rng.normal(scale=2, size=(1, T, 11)), jnp.float32) for _ in range(2)
  )
  tokens = jnp.asarray(rng.integers(11, size=(1, T)), jnp.int32)

  def unembed(_, hidden):
    return hidden

  def ours(logits):
    segment_ids, one = jnp.zeros((1, T), jnp.int32), jnp.ones((1, T))
    full_kl = logprobs.token_statistics(
      unembed, {}, logits, tokens, segment_ids,
      temperature=one, statistics=('full_kl',), chunk_size=8,
      others={'reference': (unembed, {}, reference)},
    )['full_kl']  # fmt: skip
    return jnp.sum(regularizers.full_reverse_kl(full_kl)[0][0, 1:])

  def theirs(logits):  # slot t is drawn from the logits of t − 1
    return jnp.sum(rlax.categorical_kl_divergence(logits[0, :-1], reference[0, :-1]))

  for a, b in zip(*(jax.value_and_grad(f)(logits) for f in (ours, theirs))):
    close(a, b)
