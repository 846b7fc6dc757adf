"""Metrics of the mismatch between the sampler's log-probs and the trainer's."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array

LOG_RATIO_LIMIT = 20.0  # nats


def mismatch_metrics(
  policy_logprobs: Array, old_logprobs: Array, action_mask: Array
) -> dict[str, Array]:
  """Means over action tokens, with log w = ℓ° − ℓ^μ clamped to ±20 and Δ = |ℓ° − ℓ^μ|.

  Args:
    policy_logprobs: float [..., T], nats, ℓ^μ: the sampler's, unfiltered.
    old_logprobs: float [..., T], nats, ℓ°: the trainer's before the update.
    action_mask: bool [..., T].

  Returns:
    dict of float32 scalars, all without gradient:
      mismatch/kl: E[ℓ^μ − ℓ°], nats.  mismatch/k3: E[w − 1 − log w], nats.
      mismatch/ess: (E w)² / E[w²], the effective fraction of samples.
      mismatch/chi2_token: E[w²] − 1.
      mismatch/ppl_ratio: exp E[ℓ^μ − ℓ°], perplexity of the trainer over that of the sampler.
      mismatch/abs_mean, mismatch/abs_max: mean and maximum of Δ, nats.
    Without action tokens: ess and ppl_ratio 1, the others 0.

  Source: metrics of public systems; no paper.
  Differs from the source: perplexities are over all tokens and not a mean over samples.
  """
  gap = masking.zero_where_not(
    masking.widen(old_logprobs) - masking.widen(policy_logprobs), action_mask
  )
  gap = jax.lax.stop_gradient(gap)
  log_w = jnp.clip(gap, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
  excess = jnp.expm1(log_w)  # w − 1, precise where w is near 1
  kl = -masking.masked_mean(gap, action_mask)
  first = masking.masked_mean(excess, action_mask)
  second = masking.masked_mean(excess**2, action_mask)
  chi2 = second + 2 * first
  return {
    'mismatch/kl': kl,
    'mismatch/k3': masking.masked_mean(excess - log_w, action_mask),
    'mismatch/ess': jnp.square(1 + first) / (1 + chi2),
    'mismatch/chi2_token': chi2,
    'mismatch/ppl_ratio': jnp.exp(jnp.clip(kl, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)),
    'mismatch/abs_mean': masking.masked_mean(jnp.abs(gap), action_mask),
    'mismatch/abs_max': masking.masked_max(jnp.abs(gap), action_mask),
  }
