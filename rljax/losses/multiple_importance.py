"""Hybrid policies: external completions by multiple importance sampling, own ones clipped."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamped_exp
from rljax.losses.clipped_surrogate import clipped_surrogate
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare()
def multiple_importance(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  is_external: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  exploration: float = 0.5,
  uniform: float = 1e-5,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> tuple[Array, dict[str, Array]]:
  """external: −A·(1 − sg π)^γ·π/(½π_ω + ½π°), π_ω = ½π° + ½/V;  own: the clipped surrogate.

  The policy that wrote the external tokens is unknown; a mixture of π° and the uniform policy
  stands for it, and as one of two samplers it bounds the ratio where π° is small. (1 − π)^γ gives
  right tokens that the policy would rarely choose more of the advantage. Not clipped.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°, on external tokens too. Constant.
    advantages: float [..., T], of the union of own and external samples. Constant.
    is_external: bool [N], not sampled by the policy.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    exploration: γ.
    uniform: 1/V, probability of a token under the uniform policy.
    clip_low: of the surrogate of own tokens.
    clip_high: of the surrogate of own tokens.

  Returns:
    (loss [..., T], diagnostics of own tokens, 0 on external ones, as in `clipped_surrogate`, and
    `external` 1 on external tokens).

  Examples:
    >>> logprobs, advantages = jnp.log(jnp.array([[0.9, 0.1, 0.01]])), jnp.ones((1, 3))
    >>> segments, places = jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)
    >>> args = logprobs, advantages, jnp.array([True]), segments, places
    >>> # Rare external tokens have more weight
    >>> print(losses.multiple_importance(logprobs, *args)[0])
    [[-0.4216 -1.2649 -1.3262]]

  Source: Dong et al. 2025, arXiv 2508.00222 (RL-PLUS); γ: the authors' code.
  Differs from the source: the authors' code has 1 where the uniform policy has 1/V (`uniform` 1),
    which bounds the ratio at 4π; log-ratios are clamped to ±20.
  Fidelity: faithful
  """
  external = masking.sample_to_token(is_external, sample_ids, segment_ids)
  own, diagnostics = clipped_surrogate(
    logprobs, old_logprobs, advantages, clip_low=clip_low, clip_high=clip_high
  )
  logprobs, old_logprobs, advantages = widen(logprobs), sg(widen(old_logprobs)), widen(advantages)
  mixture = jnp.logaddexp(old_logprobs + jnp.log(0.75), jnp.log(0.25 * uniform))
  rare = jnp.maximum(1 - jnp.exp(sg(logprobs)), 0) ** exploration
  guided = -sg(advantages * rare) * clamped_exp(logprobs - mixture)
  diagnostics = {name: jnp.where(external, 0, x) for name, x in diagnostics.items()}
  loss = jnp.where(external, guided, own)
  return loss, diagnostics | {'external': external.astype(loss.dtype)}
