"""Importance weights that are 0 outside a band: IcePop, MIS, the geometric mask."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.corrections.ratio import (
  in_denominator,
  log_weights,
  segment_mean,
  sequence_log_weights,
  weight,
)

Array = jax.Array


def token_mask(
  old_logprobs: Array,
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  *,
  min_weight: float = 0.5,
  max_weight: float = 5.0,
  denominator: str = 'all',
) -> tuple[Array, Array]:
  """w_t·1[c ≤ w_t ≤ C], w_t = exp(ℓ°_t − ℓ^μ_t).

  IcePop. Decoupled PPO with rejection is min_weight 0, max_weight 5.

  Args:
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    policy_logprobs: float [..., T], nats, ℓ^μ. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    min_weight: c, on w itself; 0 = off.
    max_weight: C, on w itself.
    denominator: 'all': a rejected token is a weight 0 and stays in the average; 'kept': it leaves.

  Returns:
    (weight at least float32 [..., T], counted bool [..., T]). A token whose log-probs are not
    finite has weight 0 and is not counted.

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> old, policy = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> weight, counted = corrections.token_mask(old, policy, *row[:2])
    >>> print(weight, counted)  # w = 0.2 is below 0.5; it stays in the average as a zero
    [[1.8 1.  0. ]] [[ True  True  True]]
    >>> print(corrections.token_mask(old, policy, *row[:2], denominator='kept')[1])
    [[ True  True False]]

  Source: Ling team 2025, arXiv 2510.18855 (IcePop).
  Differs from the source: log w is clamped to ±20; the bounds' defaults are those of public
    implementations.
  Fidelity: faithful
  """
  log_weight, usable = log_weights(old_logprobs, policy_logprobs, action_mask, segment_ids)
  w = weight(log_weight)
  kept = usable & (w >= min_weight) & (w <= max_weight)
  counted = in_denominator('token_mask', denominator, usable, kept)
  return jnp.where(kept, w, 0), counted


def sequence_mask(
  old_logprobs: Array,
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  min_weight: float = 0.0,
  max_weight: float = 3.0,
  denominator: str = 'all',
) -> tuple[Array, Array]:
  """W_i·1[c ≤ W_i ≤ C] on all tokens of sample i, W_i = Π_t exp(ℓ°_t − ℓ^μ_t).

  Masked importance sampling (MIS): completions that the trainer finds far more likely than the
  sampler are left out instead of being truncated.

  Args:
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    policy_logprobs: float [..., T], nats, ℓ^μ. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S]; gives the number of places of a row.
    min_weight: c, on W itself; 0 = off.
    max_weight: C, on W itself.
    denominator: 'all': a rejected sample has weight 0 and stays in the average; 'kept': it leaves.

  Returns:
    (weight at least float32 [..., T], counted bool [..., T]). A token whose log-probs are not
    finite leaves the product, has weight 0 and is not counted.

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> old, policy = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(corrections.sequence_mask(old, policy, *row)[0])  # W = 1.8·1·0.2 on each token
    [[0.36 0.36 0.36]]
    >>> print(corrections.sequence_mask(old, policy, *row, min_weight=0.5)[0])
    [[0. 0. 0.]]

  Source: Liu, Li et al. 2025, "When speed kills stability" (sequence-level MIS); the bound 3:
    TRL's default.
  Differs from the source: Σ log w is clamped to ±20.
  Fidelity: faithful
  """
  log_weight, usable = log_weights(old_logprobs, policy_logprobs, action_mask, segment_ids)
  w = weight(sequence_log_weights(log_weight, segment_ids, sample_ids))
  kept = usable & (w >= min_weight) & (w <= max_weight)
  counted = in_denominator('sequence_mask', denominator, usable, kept)
  return jnp.where(kept, w, 0), counted


def geometric_mask(
  old_logprobs: Array,
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  min_mean: float = 0.999,
  max_mean: float = 1.002,
  denominator: str = 'all',
) -> tuple[Array, Array]:
  """w_t·1[c ≤ exp(mean_t log w_t) ≤ C]: sample by the geometric mean, token weights inside.

  Unlike the product, the geometric mean does not grow with length. Public presets are 0.999 to
  1.002, 0.999 to 1.001 and 0.99 to 1.01; they presume long completions.

  Args:
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    policy_logprobs: float [..., T], nats, ℓ^μ. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S]; gives the number of places of a row.
    min_mean: c, on the geometric mean of w itself.
    max_mean: C, on the geometric mean of w itself.
    denominator: 'all': a rejected sample has weight 0 and stays in the average; 'kept': it leaves.

  Returns:
    (weight at least float32 [..., T], counted bool [..., T]). A token whose log-probs are not
    finite leaves the mean, has weight 0 and is not counted.

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> old, policy = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(corrections.geometric_mask(old, policy, *row)[0])  # the mean of log w is far from 0
    [[0. 0. 0.]]
    >>> print(corrections.geometric_mask(old, policy, *row, min_mean=0.7)[0])
    [[1.8 1.  0.2]]

  Source: Liu, Li et al. 2025, "When speed kills stability" (geometric sequence mask), with token
    weights as in public implementations (seq-mask-tis).
  Differs from the source: log w is clamped to ±20.
  Fidelity: faithful
  """
  log_weight, usable = log_weights(old_logprobs, policy_logprobs, action_mask, segment_ids)
  mean = segment_mean(log_weight, usable, segment_ids, sample_ids.shape[-1])
  mean = jnp.exp(masking.segment_to_token(mean, segment_ids))
  kept = usable & (mean >= min_mean) & (mean <= max_mean)
  counted = in_denominator('geometric_mask', denominator, usable, kept)
  return jnp.where(kept, weight(log_weight), 0), counted
