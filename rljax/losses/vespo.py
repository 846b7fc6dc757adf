"""REINFORCE weighted by a smooth kernel of the completion's ratio."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.ratios import completion_sum
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient

LOG_WEIGHT_MIN, LOG_WEIGHT_MAX = -18.420680743952367, 20.0  # log 1e-8; nats


@declare(couples='sequence', traits=('on_policy_is_reinforce',))
def vespo(
  logprobs: Array,
  policy_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  positive_power: float = 2.0,
  positive_decay: float = 3.0,
  negative_power: float = 3.0,
  negative_decay: float = 2.0,
) -> tuple[Array, dict[str, Array]]:
  """−sg(φ(W))·A·ℓ, φ(W) = W^k·exp(λ·(1 − W)), W = Π_t π/μ; φ(1) = 1.

  k and λ are the pair of the sign of A. φ falls off on both sides of its top at W = k/λ: stale
  completions (W ≪ 1) by the power, exploding ones (W ≫ 1) by the exponential. No length
  normalisation, no clip. φ is computed from log W.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated (φ is constant).
    policy_logprobs: float [..., T], nats, ℓ^μ, of the sampler: W is the product of the staleness
      and of the mismatch. Constant.
    advantages: float [..., T]. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    positive_power, positive_decay: k, λ where A ≥ 0.
    negative_power, negative_decay: k, λ where A < 0.

  Returns:
    (loss [..., T], diagnostics: `ratio_max` W, `kernel` φ).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> loss, seen = losses.vespo(new, old, jnp.ones((1, 3)), *row)
    >>> print(seen['ratio_max'][0, 0], seen['kernel'][0, 0])  # W = 0.36, 0.36²·exp(3·0.64)
    0.36 0.884

  Source: Shen et al. 2026, arXiv 2602.10693, equation 20 and appendix I.
  Differs from the source: log W is clamped to [log 1e-8, 20], as in public implementations.
  Fidelity: faithful
  """
  log_ratio = widen(logprobs) - widen(policy_logprobs)
  log_weight = sg(completion_sum(log_ratio, action_mask, segment_ids, sample_ids))
  log_weight = jnp.clip(log_weight, LOG_WEIGHT_MIN, LOG_WEIGHT_MAX)
  advantages = sg(widen(advantages))
  power = jnp.where(advantages < 0, negative_power, positive_power)
  decay = jnp.where(advantages < 0, negative_decay, positive_decay)
  weight = jnp.exp(log_weight)
  kernel = jnp.exp(power * log_weight + decay * (1 - weight))
  return -kernel * advantages * widen(logprobs), {'ratio_max': weight, 'kernel': kernel}
