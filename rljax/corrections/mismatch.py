"""Metrics of the mismatch between the sampler's log-probs and the trainer's."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.corrections.ratio import log_weights, segment_mean
from rljax.log_ratios import clamp, clamped_exp

Array = jax.Array


def mismatch_metrics(
  policy_logprobs: Array,
  old_logprobs: Array,
  action_mask: Array,
  segment_ids: Array | None = None,
  sample_ids: Array | None = None,
) -> dict[str, Array]:
  """E over action tokens of functions of log w = ℓ° − ℓ^μ, and over samples of its sum and mean.

  Expectations are over what the sampler drew. log w is clamped to ±20; Δ = |ℓ° − ℓ^μ| is not.
  Tokens whose log-probs are not finite are left out.

  Args:
    policy_logprobs: float [..., T], nats, ℓ^μ: the sampler's, unfiltered.
    old_logprobs: float [..., T], nats, ℓ°: the trainer's before the update.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T] or None: without it there are no metrics of samples.
    sample_ids: int32 [..., S] or None, together with segment_ids.

  Returns:
    dict of at least float32 scalars, all without gradient; over tokens:
      mismatch/kl: E[ℓ^μ − ℓ°], nats.  mismatch/k3: E[w − 1 − log w], nats, of the same KL(μ ‖ π°).
      mismatch/kl_reverse: E[w·log w − w + 1], nats, of KL(π° ‖ μ).
      mismatch/js: E[½(w·log w − (1 + w)·log((1 + w)/2))], nats, of the Jensen-Shannon divergence.
      mismatch/ess: (E w)² / E[w²], the effective fraction of tokens.
      mismatch/chi2_token: E[w²] − 1.
      mismatch/ratio_mean, ratio_min, ratio_max: of w.
      mismatch/token_mult_prob_error: E exp Δ.
      mismatch/ppl_policy, ppl_old: exp(−E ℓ^μ), exp(−E ℓ°).  mismatch/ppl_ratio: the second over
        the first.
      mismatch/abs_mean, mismatch/abs_max: mean and maximum of Δ, nats.
      mismatch/not_finite: fraction of action tokens that were left out.
    and over samples, with δ_i the mean of ℓ^μ − ℓ° over a sample's tokens:
      mismatch/log_ppl_diff_mean, log_ppl_diff_min, log_ppl_diff_max: of δ_i, nats.
      mismatch/log_ppl_diff_abs_mean: of |δ_i|, nats.
      mismatch/chi2_seq: E[(Π_t w_t)²] − 1.
    Without action tokens: ess, ratios, perplexities and token_mult_prob_error 1, the others 0.

  Examples:
    >>> old, policy = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> found = corrections.mismatch_metrics(policy, old, row[0])
    >>> print(found['mismatch/k3'], found['mismatch/ratio_max'], found['mismatch/ess'])
    0.3406 1.8 0.7009
    >>> same = corrections.mismatch_metrics(policy, policy, row[0])
    >>> print(same['mismatch/k3'], same['mismatch/ratio_max'], same['mismatch/ess'])
    0.0 1.0 1.0

  Source: metrics of public systems; no paper.
  Differs from the source: perplexities are over all tokens and not means over samples; kl_reverse
    and js are unbiased for tokens that the sampler drew, where a public form takes 1/w.
  Fidelity: adapted
  """
  segments = jnp.zeros_like(action_mask, jnp.int32) if segment_ids is None else segment_ids
  gap, usable = log_weights(old_logprobs, policy_logprobs, action_mask, segments)
  actions = action_mask & (segments >= 0)
  # Of the tokens that are left, both are finite.
  policy, old = (
    masking.masked_mean(jax.lax.stop_gradient(x), usable) for x in (policy_logprobs, old_logprobs)
  )
  found = {
    **_token_metrics(gap, usable),
    'mismatch/ppl_policy': clamped_exp(-policy),
    'mismatch/ppl_old': clamped_exp(-old),
    'mismatch/not_finite': masking.masked_mean(~usable, actions),
  }
  if segment_ids is not None and sample_ids is not None:
    found |= _sample_metrics(gap, usable, segments, sample_ids)
  return found


def _token_metrics(gap: Array, usable: Array) -> dict[str, Array]:
  log_w = clamp(gap)
  excess = jnp.expm1(log_w)  # w − 1, precise where w is near 1
  w = 1 + excess

  def mean(x):
    return masking.masked_mean(x, usable)

  kl, first, second = -mean(gap), mean(excess), mean(excess**2)
  chi2 = second + 2 * first
  js = (w * log_w - (2 + excess) * jnp.log1p(excess / 2)) / 2
  return {
    'mismatch/kl': kl,
    'mismatch/k3': mean(excess - log_w),
    'mismatch/kl_reverse': mean(w * log_w - excess),
    'mismatch/js': mean(jnp.maximum(js, 0)),
    'mismatch/ess': jnp.square(1 + first) / (1 + chi2),
    'mismatch/chi2_token': chi2,
    'mismatch/ratio_mean': 1 + first,
    'mismatch/ratio_min': jnp.exp(masking.masked_min(log_w, usable)),
    'mismatch/ratio_max': jnp.exp(masking.masked_max(log_w, usable)),
    'mismatch/token_mult_prob_error': 1 + mean(jnp.expm1(jnp.abs(log_w))),
    'mismatch/ppl_ratio': clamped_exp(kl),
    'mismatch/abs_mean': mean(jnp.abs(gap)),
    'mismatch/abs_max': masking.masked_max(jnp.abs(gap), usable),
  }


def _sample_metrics(
  gap: Array, usable: Array, segment_ids: Array, sample_ids: Array
) -> dict[str, Array]:
  places = sample_ids.shape[-1]
  present = masking.segment_sum(usable, segment_ids, places) > 0
  difference = -segment_mean(gap, usable, segment_ids, places)
  total = masking.segment_sum(gap, segment_ids, places)
  total = clamp(total)
  return {
    'mismatch/log_ppl_diff_mean': masking.masked_mean(difference, present),
    'mismatch/log_ppl_diff_abs_mean': masking.masked_mean(jnp.abs(difference), present),
    'mismatch/log_ppl_diff_min': masking.masked_min(difference, present),
    'mismatch/log_ppl_diff_max': masking.masked_max(difference, present),
    'mismatch/chi2_seq': masking.masked_mean(jnp.expm1(2 * total), present),
  }
