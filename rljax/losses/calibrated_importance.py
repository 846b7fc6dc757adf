"""REINFORCE weighted by the ratio to the sampler, on the tokens where it is near 1."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamped_exp
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare(traits=('on_policy_is_reinforce',))
def calibrated_importance(
  logprobs: Array,
  policy_logprobs: Array,
  advantages: Array,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> tuple[Array, dict[str, Array]]:
  """−sg(1[1 − clip_low < ρ < 1 + clip_high]·ρ)·A·ℓ, ρ = exp(ℓ − ℓ^μ).

  A token whose ratio left the band on either side gives nothing, whatever the sign of A.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated (the ratio is constant).
    policy_logprobs: float [..., T], nats, ℓ^μ, of the sampler. Constant.
    advantages: float [..., T]. Constant.
    clip_low: width of the band below 1, fraction.
    clip_high: width of the band above 1, fraction.

  Returns:
    (loss [..., T], diagnostics: `ratio_max` the ratio, `clip_low` and `clip_high` 1 where the token
    lies on or beyond that edge).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> loss, seen = losses.calibrated_importance(new, old, jnp.ones((1, 3)))
    >>> print(loss)  # only the ratio 1 is inside the band; −log 0.5 is left
    [[0.     0.6931 0.    ]]

  Source: public implementations: SkyRL, policy loss "rollout_is".
  Differs from the source: log-ratios are clamped to ±20.
  Fidelity: faithful
  """
  logprobs = widen(logprobs)
  ratio = sg(clamped_exp(logprobs - widen(policy_logprobs)))
  low, high = ratio <= 1 - clip_low, ratio >= 1 + clip_high
  weight = jnp.where(low | high, 0, ratio)
  diagnostics = {
    'ratio_max': ratio,
    'clip_low': low.astype(ratio.dtype),
    'clip_high': high.astype(ratio.dtype),
  }
  return -weight * sg(widen(advantages)) * logprobs, diagnostics
