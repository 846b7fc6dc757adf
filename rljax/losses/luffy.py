"""Off-policy guidance: external completions through a shaped probability, own ones clipped."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamped_exp
from rljax.losses.clipped_surrogate import clipped_surrogate
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare()
def luffy(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  is_external: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  gamma: float = 0.1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> tuple[Array, dict[str, Array]]:
  """external: −A·π/(π + γ), π = exp(ℓ), not clipped;  own: the clipped surrogate of π/π°.

  The probability of an external token under whoever wrote it is taken as 1, so its ratio is π. The
  slope γ·π/(π + γ)² is largest at π = γ: tokens that the policy would rarely choose are learned,
  where π itself would pass over them. Advantages are of the union of own and external samples.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°. Constant; not used on external tokens.
    advantages: float [..., T]. Constant.
    is_external: bool [N], not sampled by the policy.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    gamma: where the slope is largest, probability.
    clip_low: of the surrogate of own tokens.
    clip_high: of the surrogate of own tokens.

  Returns:
    (loss [..., T], diagnostics of own tokens, 0 on external ones, as in `clipped_surrogate`, and
    `external` 1 on external tokens).

  Examples:
    >>> logprobs, advantages = jnp.log(jnp.array([[0.9, 0.1, 0.01]])), jnp.ones((1, 3))
    >>> segments, places = jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)
    >>> args = logprobs, advantages, jnp.array([True]), segments, places
    >>> loss = lambda logprobs: losses.luffy(logprobs, *args)[0].sum()
    >>> print(jax.grad(loss)(logprobs))  # steepest where π = γ = 0.1
    [[-0.09   -0.25   -0.0826]]

  Source: Yan et al. 2025, arXiv 2504.14945, and the authors' code ("p_div_p_0.1").
  Differs from the source: log-probs are clamped to −20 in π.
  Fidelity: faithful
  """
  external = masking.sample_to_token(is_external, sample_ids, segment_ids)
  logprobs = widen(logprobs)
  # Nobody may know an external token's ℓ°; in the branch not taken NaN would reach the gradient.
  old_logprobs = jnp.where(external, jax.lax.stop_gradient(logprobs), widen(old_logprobs))
  own, diagnostics = clipped_surrogate(
    logprobs, old_logprobs, advantages, clip_low=clip_low, clip_high=clip_high
  )
  probability = clamped_exp(logprobs)
  shaped = probability / (probability + gamma)
  loss = jnp.where(external, -jax.lax.stop_gradient(widen(advantages)) * shaped, own)
  diagnostics = {name: jnp.where(external, 0, x) for name, x in diagnostics.items()}
  return loss, diagnostics | {'external': external.astype(loss.dtype)}
