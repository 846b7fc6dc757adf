"""What the policy before the update finds too different from the sampler is left out."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.corrections.ratio import (
  in_denominator,
  log_weights,
  segment_max,
  segment_mean,
)
from rljax.corrections.rejection import divergence
from rljax.log_ratios import clamp
from rljax.selection.order import largest, ordered

Array = jax.Array


def opsm(
  advantages: Array,
  old_logprobs: Array,
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  max_divergence: float = 1e-4,
  denominator: str = 'all',
) -> tuple[Array, Array]:
  """keep_t = not (A_t < 0 and mean_t(ℓ^μ − ℓ°) > δ) over the tokens of the sample.

  Off-policy sequence masking: a bad completion that the policy has already become less likely to
  write is not pushed down further. Its good advantages, if any, stay.

  Args:
    advantages: float [..., T]. Constant.
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    policy_logprobs: float [..., T], nats, ℓ^μ. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S]; gives the number of places of a row.
    max_divergence: δ, nats per token; public implementations take 1e-4 to 0.5.
    denominator: 'all': dropped tokens are zeros in the average; 'kept': they leave it.

  Returns:
    (keep, counted), bool [..., T]. A token whose log-probs are not finite leaves the mean, and is
    neither kept nor counted.

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> old, policy = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(selection.opsm(jnp.array([[1.0, -1.0, -1.0]]), old, policy, *row)[0])
    [[ True False False]]

  Source: DeepSeek-AI 2025, arXiv 2512.02556 (DeepSeek-V3.2), off-policy sequence masking.
  Differs from the source: the distance is that of the policy before the update, π°, from the
    sampler, and not that of the present policy, which would depend on the micro-batch and step.
  Fidelity: adapted
  """
  log_weight, usable = log_weights(old_logprobs, policy_logprobs, action_mask, segment_ids)
  distance = -segment_mean(log_weight, usable, segment_ids, sample_ids.shape[-1])
  far = masking.segment_to_token(distance, segment_ids) > max_divergence
  keep = usable & ~(far & (jax.lax.stop_gradient(advantages) < 0))
  return keep, in_denominator('opsm', denominator, usable, keep)


def trust_region_mask(
  old_logprobs: Array,
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  max_divergence: float | None = 0.05,
  mean_divergence: float | None = None,
  denominator: str = 'all',
) -> tuple[Array, Array]:
  """keep = max_t k3(log w_t) ≤ δ and mean_t k3(log w_t) ≤ δ' over the tokens of the sample (TRM).

  k3 = w − 1 − log w, w = π°/π_μ, the estimate of KL(π_μ ‖ π°) at a token. A completion that leaves
  the trust region anywhere is dropped as a whole.

  Args:
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    policy_logprobs: float [..., T], nats, ℓ^μ. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S]; gives the number of places of a row.
    max_divergence: δ of the worst token, nats; None = off.
    mean_divergence: δ' of the mean token, nats (0.001 in the paper's runs); None = off.
    denominator: 'all': dropped samples are zeros in the average; 'kept': they leave it.

  Returns:
    (keep, counted), bool [..., T]. A token whose log-probs are not finite leaves the statistics,
    and is neither kept nor counted.

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> old, policy = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(selection.trust_region_mask(old, policy, *row)[0])  # one token is far: all leave
    [[False False False]]
    >>> print(selection.trust_region_mask(old, policy, *row, max_divergence=1.0)[0])
    [[ True  True  True]]

  Source: Li et al. 2025, arXiv 2512.23075 (trust region masking).
  Differs from the source: the KL of a token is estimated from the drawn token, where the paper sums
    over the vocabulary; formula not confirmed against the paper.
  Fidelity: recalled
  """
  log_weight, usable = log_weights(old_logprobs, policy_logprobs, action_mask, segment_ids)
  places, k3 = sample_ids.shape[-1], divergence(log_weight, 'k3')
  keep = usable
  for limit, statistic in ((max_divergence, segment_max), (mean_divergence, segment_mean)):
    if limit is not None:
      seen = statistic(k3, usable, segment_ids, places)
      keep = keep & (masking.segment_to_token(seen, segment_ids) <= limit)
  return keep, in_denominator('trust_region_mask', denominator, usable, keep)


def m2po(
  old_logprobs: Array,
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  *,
  threshold: float = 0.04,
  denominator: str = 'all',
) -> tuple[Array, Array]:
  """keep_t = (ℓ°_t − ℓ^μ_t)² ≤ v, v the largest with mean{(ℓ° − ℓ^μ)² ≤ v} < τ over the minibatch.

  The tokens with the largest second moment leave until the mean of the rest is below τ; equal ones
  leave together.

  Args:
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    policy_logprobs: float [..., T], nats, ℓ^μ. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    threshold: τ, nats².
    denominator: 'all': dropped tokens are zeros in the average; 'kept': they leave it.

  Returns:
    (keep, counted), bool [..., T]. A token whose log-probs are not finite is neither kept nor
    counted.

  Raises:
    ValueError: an unknown denominator.

  Examples:
    >>> old, policy = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(selection.m2po(old, policy, *row[:2])[0])
    [[False  True False]]
    >>> print(selection.m2po(old, policy, *row[:2], threshold=0.2)[0])
    [[ True  True False]]

  Source: Zheng et al. 2025, arXiv 2510.01161 (M2PO).
  Differs from the source: of the policy before the update, as AReaL has it, where the paper takes
    the present policy and only tokens that a clipped surrogate would clip; log-ratios are clamped
    to ±20.
  Fidelity: adapted
  """
  log_weight, usable = log_weights(old_logprobs, policy_logprobs, action_mask, segment_ids)
  moment = jnp.square(clamp(log_weight))
  keys = ordered(moment)

  def is_small(v):
    return masking.masked_mean(moment, usable & (keys <= v)) < threshold

  found = largest(is_small, keys.dtype)
  keep = usable & (keys <= found)
  return keep, in_denominator('m2po', denominator, usable, keep)


def staleness(
  policy_step: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  prox_step: Array,
  *,
  max_age: float = 8.0,
  level: str = 'sample',
  denominator: str = 'kept',
) -> tuple[Array, Array]:
  """keep_t = prox_step − policy_step_t ≤ max_age, of the token or of the oldest in its sample.

  Args:
    policy_step: int32 [..., T], optimizer step of the parameters that drew the token.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S]; gives the number of places of a row.
    prox_step: int32 scalar, optimizer steps when the iteration began.
    max_age: optimizer steps.
    level: 'sample': a sample with one token too old leaves; 'token': only such tokens.
    denominator: 'kept': what is too old leaves the average; 'all': it is zeros in it.

  Returns:
    (keep, counted), bool [..., T].

  Raises:
    ValueError: an unknown level or denominator.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> steps, now = jnp.array([[1, 9, 9]]), jnp.array(10)
    >>> print(selection.staleness(steps, *row, now)[0])  # a sample is as old as its oldest token
    [[False False False]]
    >>> print(selection.staleness(steps, *row, now, level='token')[0])
    [[False  True  True]]

  Source: public implementations: a limit on off-policy steps of asynchronous systems.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  if level not in ('sample', 'token'):
    raise ValueError(f"staleness: level {level!r} is neither 'sample' nor 'token'")
  actions = action_mask & (segment_ids >= 0)
  fresh = prox_step - policy_step <= max_age
  if level == 'sample':
    old = masking.segment_sum(actions & ~fresh, segment_ids, sample_ids.shape[-1])
    fresh = masking.segment_to_token(old, segment_ids) == 0
  keep = actions & fresh
  return keep, in_denominator('staleness', denominator, actions, keep)
