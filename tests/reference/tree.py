"""All completions of a tiny language, so that expectations are sums over them.

Four tokens, at most three to a completion; token 0 ends one. So completions have one, two or three
tokens, and what is right only for one token, or only for one length, shows. A policy is a dict of
logits by depth. Call everything in float64 (`jax.enable_x64`).
"""

import jax
import jax.numpy as jnp
import numpy as np

V, LENGTH = 4, 3
WORDS = range(1, V)
# The 40 completions; after the end there are zeros.
TREE = np.array(
  [
    [0, 0, 0],
    *([a, 0, 0] for a in WORDS),
    *([a, b, c] for a in WORDS for b in WORDS for c in range(V)),
  ]
)
MASK = np.array([[True, row[0] != 0, row[1] != 0] for row in TREE])
SEGMENTS = np.where(MASK, 0, -1).astype(np.int32)  # each completion in a row of its own
PLACES = np.arange(len(TREE), dtype=np.int32)[:, None]
_rng = np.random.default_rng(3)
BINARY = _rng.integers(0, 2, len(TREE)).astype(float)
GRADED = _rng.normal(size=len(TREE))


def make(seed, noise=1.0):
  rng = np.random.default_rng(seed)
  return [noise * rng.normal(size=(V,) * depth) for depth in (1, 2, 3)]


# The present policy, the reference, the policy that began the update, the sampler's.
THETA, REFERENCE = make(0), make(1)
OLD = [x + 0.3 * y for x, y in zip(THETA, make(2), strict=True)]
SAMPLER = [x + 0.2 * y for x, y in zip(OLD, make(4), strict=True)]


def distributions(theta):
  """Log-probs [40, 3, V] at the state before each token of each completion."""
  logp = [jax.nn.log_softmax(jnp.asarray(x)) for x in theta]
  first = jnp.broadcast_to(logp[0], (len(TREE), V))
  return jnp.stack([first, logp[1][TREE[:, 0]], logp[2][TREE[:, 0], TREE[:, 1]]], axis=1)


def logprobs(theta):
  """[40, 3]; 0 after the end."""
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


def local(divergence, sampler):
  """Σ_t E_{s_t ~ sampler} divergence(log π(·|s_t), log ref(·|s_t)) as a function of θ."""

  def per_state(theta):
    return jnp.sum(divergence(distributions(theta), distributions(REFERENCE)), axis=-1)

  return expected(per_state, sampler)


def negative_entropy(logp, logq):
  """Summand of Σ_v π·log π."""
  return jnp.exp(logp) * logp


DIVERGENCES = {  # f of u = π/ref
  'reverse_kl': lambda u: u * jnp.log(u),
  'forward_kl': lambda u: -jnp.log(u),
  'jensen_shannon': lambda u: (u * jnp.log(2 * u / (1 + u)) + jnp.log(2 / (1 + u))) / 2,
  'chi_squared': lambda u: (u - 1) ** 2,
  'total_variation': lambda u: jnp.abs(u - 1) / 2,
  'alpha': lambda u: -4 * (jnp.sqrt(u) - 1),  # α = ½
}


def divergence(kind):
  """Summand ref·f(π/ref) of a divergence."""
  return lambda logp, logq: jnp.exp(logq) * DIVERGENCES[kind](jnp.exp(logp - logq))


def sequence_kl(theta):
  """KL(π ‖ ref) of whole completions."""
  d = jnp.sum(logprobs(theta) - logprobs(REFERENCE), axis=1)
  return jnp.sum(probabilities(theta) * d)


def values_and_gradients(objectives, at=THETA):
  """Name -> (value, flat ∇) at a policy, one program for all."""

  @jax.jit
  def run(theta):
    return {name: jax.value_and_grad(f)(theta) for name, f in objectives.items()}

  return {
    name: (float(value), np.concatenate([np.ravel(x) for x in gradient]))
    for name, (value, gradient) in run([jnp.asarray(x) for x in at]).items()
  }


def gradients(objectives, at=THETA):
  """Name -> flat ∇ at a policy."""
  return {name: slope for name, (_, slope) in values_and_gradients(objectives, at).items()}


def minus_reward(rewards):
  """−E R as a function of θ."""
  return lambda theta: -jnp.sum(probabilities(theta) * rewards)


def to_tokens(x):
  """[40] -> [40, 3]."""
  return jnp.broadcast_to(jnp.asarray(x)[:, None], MASK.shape)


def close(a, b):
  return np.linalg.norm(a - b) <= 1e-10 * max(1, np.linalg.norm(b))


def far(a, b):
  return np.linalg.norm(a - b) > 0.02 * np.linalg.norm(b)
