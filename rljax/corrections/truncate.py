"""Truncated importance weights of the trainer against the sampler, by token and by sequence."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.corrections.ratio import log_weights, sequence_log_weights, weight

Array = jax.Array


def token_truncate(
  old_logprobs: Array,
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  *,
  max_weight: float = 2.0,
  min_weight: float = 0.0,
) -> tuple[Array, Array]:
  """w_t = max(min(exp(ℓ°_t − ℓ^μ_t), C), c).

  Truncated importance sampling per token. Special cases: bounds (0.5, 5) of OpenRLHF, cap 5 of
  decoupled PPO (π_prox = old, π_behave = policy), no bounds (max_weight=inf): plain weights.
  Nothing is rejected, so all usable tokens stay in the denominator.

  Args:
    old_logprobs: float [..., T], nats, ℓ°: the trainer's before the update. Constant.
    policy_logprobs: float [..., T], nats, ℓ^μ: the sampler's, unfiltered. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    max_weight: C, on w itself.
    min_weight: c, on w itself; 0 = off.

  Returns:
    (weight at least float32 [..., T], counted bool [..., T]). A token whose log-probs are not
    finite has weight 0 and is not counted.

  Examples:
    >>> old, policy = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(corrections.token_truncate(old, policy, *row[:2], max_weight=1.5)[0])  # 1.8, 1, 0.2
    [[1.5 1.  0.2]]

  Source: Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL
    training"; the lower bound: public implementations.
  Differs from the source: log w is clamped to ±20.
  Fidelity: faithful
  """
  log_weight, usable = log_weights(old_logprobs, policy_logprobs, action_mask, segment_ids)
  bounded = jnp.maximum(jnp.minimum(weight(log_weight), max_weight), min_weight)
  return jnp.where(usable, bounded, 0), usable


def sequence_truncate(
  old_logprobs: Array,
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  max_weight: float = 2.0,
) -> tuple[Array, Array]:
  """W_i = min(Π_t exp(ℓ°_t − ℓ^μ_t), C) on all tokens of sample i.

  Truncated importance sampling of the whole completion; unbiased without the cap, and of a variance
  that grows exponentially with length. Nothing is rejected.

  Args:
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    policy_logprobs: float [..., T], nats, ℓ^μ. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S]; gives the number of places of a row.
    max_weight: C, on W itself; public implementations take 2, 3 or 5.

  Returns:
    (weight at least float32 [..., T], counted bool [..., T]). A token whose log-probs are not
    finite leaves the product, has weight 0 and is not counted.

  Examples:
    >>> old, policy = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(corrections.sequence_truncate(old, policy, *row)[0])
    [[0.36 0.36 0.36]]
    >>> print(corrections.sequence_truncate(policy, old, *row)[0])  # 1/0.36 is cut to 2
    [[2. 2. 2.]]

  Source: public implementations (verl's and TRL's sequence level).
  Differs from the source: Σ log w is clamped to ±20.
  Fidelity: faithful
  """
  log_weight, usable = log_weights(old_logprobs, policy_logprobs, action_mask, segment_ids)
  product = weight(sequence_log_weights(log_weight, segment_ids, sample_ids))
  return jnp.where(usable, jnp.minimum(product, max_weight), 0), usable
