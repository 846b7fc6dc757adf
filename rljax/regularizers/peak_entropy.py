"""SIREN: entropy of likely tokens at the uncertain places of a completion, held where it was."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array

NO_ANCHOR = -1.0  # no entropy is below 0


def peak_positions(
  old_entropy: Array, action_mask: Array, segment_ids: Array, *, fraction: float = 0.2
) -> Array:
  """N/P on the ⌈fraction·n⌉ tokens of each completion of n with the highest entropy, else 0.

  N tokens and P of these are in the minibatch, so that a mean over all tokens of this times x is
  the mean of x over the peaks. Of equal entropies the first ones count.

  Args:
    old_entropy: float [..., T], nats, of the policy before the update. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    fraction: of the tokens of a completion.

  Returns:
    [..., T], at least float32.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> entropy = jnp.array([[0.1, 2.0, 0.3]])
    >>> print(regularizers.peak_positions(entropy, *row[:2]))  # N/P = 3/1
    [[0. 3. 0.]]

  Source: SIREN, Rethinking Entropy Regularization in Large Reasoning Models (2025).
  Differs from the source: formula not confirmed against the paper; entropies are those before the
    update, so that micro-batches do not change which tokens are meant.
  Fidelity: recalled
  """
  entropy = jax.lax.stop_gradient(widen(old_entropy))
  actions = action_mask & (segment_ids >= 0) & jnp.isfinite(entropy)
  axis = entropy.ndim - 1
  slots = jax.lax.broadcasted_iota(jnp.int32, entropy.shape, axis)
  owner = jnp.where(actions, segment_ids, jnp.iinfo(jnp.int32).max)
  ordered = (owner, jnp.where(actions, -entropy, 0), slots)
  owner, _, place = jax.lax.sort(ordered, dimension=axis, num_keys=3)
  first = jax.lax.cummax(jnp.where(masking.starts(owner), slots, 0), axis=axis)
  _, rank = jax.lax.sort((place, slots - first), dimension=axis, num_keys=1)
  number = masking.segment_to_token(
    masking.segment_sum(actions, segment_ids, entropy.shape[-1]), segment_ids
  )
  peaks = actions & (rank < jnp.ceil(fraction * number - 1e-4))
  total = jnp.sum(peaks, dtype=jnp.int32)
  return jnp.where(peaks, jnp.sum(actions, dtype=jnp.int32) / jnp.maximum(total, 1), 0)


@declare()
def peak_entropy(nucleus_entropy: Array, peaks: Array) -> tuple[Array, dict[str, Array]]:
  """−peaks·H^p: less the entropy of the nucleus, where the policy is uncertain.

  A bonus on all tokens of the vocabulary and all positions explodes, since it is cheapest to raise
  where it does harm: on unlikely tokens, and where the next token is certain.

  Args:
    nucleus_entropy: float [..., T], nats, of the best tokens that together reach the stage's
      `entropy_top_p`, renormalised; differentiated.
    peaks: float [..., T], of `peak_positions`. Constant.

  Returns:
    (loss [..., T], diagnostics: `measured`, peaks·H^p: its mean is what a controller follows).

  Examples:
    >>> print(regularizers.peak_entropy(jnp.array([[0.1, 2.0]]), jnp.array([[0.0, 2.0]]))[0])
    [[-0. -4.]]

  Source: SIREN, Rethinking Entropy Regularization in Large Reasoning Models (2025).
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  entropy = jax.lax.stop_gradient(widen(peaks)) * widen(nucleus_entropy)
  return -entropy, {'measured': jax.lax.stop_gradient(entropy)}


def anchored_entropy_init() -> Array:
  """No anchor yet.

  Returns:
    float32 scalar.

  Examples:
    >>> print(regularizers.anchored_entropy_init())  # negative: no anchor yet
    -1.0

  Source: SIREN, Rethinking Entropy Regularization in Large Reasoning Models (2025).
  Differs from the source: nothing.
  Fidelity: recalled
  """
  return jnp.asarray(NO_ANCHOR, jnp.float32)


def anchored_entropy(
  measured: Array, num_samples: Array, *, beta: float = 0.5, state: Array
) -> tuple[Array, Array]:
  """2β·(H₀ − H): with it a term −H has the gradient of β·(H − H₀)².

  H₀ is what the first update measured. Below it entropy is raised, above it lowered.

  Args:
    measured: float scalar, H of the last update, nats; not finite = no push.
    num_samples: scalar, of no influence: all controllers are called alike.
    beta: β, reward per nat².
    state: float32 scalar, H₀.

  Returns:
    (the coefficient of the next update, the next state): float32 scalars without gradient.

  Examples:
    >>> state = regularizers.anchored_entropy_init()
    >>> for entropy in (0.5, 0.3, 0.6):
    ...   push, state = regularizers.anchored_entropy(jnp.array(entropy), jnp.array(8), state=state)
    ...   print(push, state)  # the first is the anchor
    0.0 0.5
    0.2 0.5
    -0.1 0.5

  Source: SIREN, Rethinking Entropy Regularization in Large Reasoning Models (2025).
  Differs from the source: formula not confirmed against the paper; H is that of the update before.
  Fidelity: recalled
  """
  del num_samples
  measured = jax.lax.stop_gradient(widen(measured))
  known = jnp.isfinite(measured)
  anchor = jnp.where((state < 0) & known, measured, state)
  push = jnp.where(known, 2 * beta * (anchor - measured), 0)
  return push.astype(jnp.float32), anchor.astype(jnp.float32)
