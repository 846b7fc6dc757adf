"""PPO's clipped surrogate with separate bounds and an optional dual clip."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array


@declare(traits=('on_policy_is_reinforce',))
def clipped_surrogate(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  dual_clip: float | None = None,
) -> tuple[Array, dict[str, Array]]:
  """max(−A·r, −A·clip(r, 1−clip_low, 1+clip_high)), r = exp(ℓ − ℓ°).

  With `dual_clip` = c > 1 the loss of a token with A < 0 is at most −c·A. Special cases: DAPO's
  clip-higher (clip_high 0.28); INTELLECT-2's two-sided clip with δ ≥ 1 + clip_high (dual_clip = δ:
  the same in value and gradient); clip-cov (with a selection by covariance, which keeps the tokens
  that carry the loss); decoupled PPO (with a correction whose weight is π°/μ); and on-policy
  (r = 1) REINFORCE.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°, of the policy that drew the tokens. Constant.
    advantages: float [..., T]. Constant.
    clip_low: width of the band below 1, fraction.
    clip_high: width of the band above 1, fraction.
    dual_clip: the largest ratio that a token with A < 0 is charged for; None = off.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` the ratio r, `clip_low` and `clip_high` 1
    where the lower or upper bound took the gradient away (the dual clip counts as upper), `kl_old`
    the k3 estimate of KL(π° ‖ π), nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> loss, seen = losses.clipped_surrogate(new, old, jnp.array([[1.0, 1.0, -1.0]]))
    >>> print(loss)  # ratios 1.8, 1, 0.2 are charged as 1.2, 1, 0.8
    [[-1.2 -1.   0.8]]
    >>> print(seen['clip_high'], seen['clip_low'])
    [[1. 0. 0.]] [[0. 0. 1.]]

  Source: Schulman et al. 2017, arXiv 1707.06347, equation 7; dual clip: Ye et al. 2019,
    arXiv 1912.09729, equation 5; separate bounds: Yu et al. 2025, arXiv 2503.14476, equation 10.
  Differs from the source: log-ratios are clamped to ±20; a ratio exactly on a bound counts as
    inside and has the full gradient.
  Fidelity: faithful
  """
  advantages = ratios.constant(advantages)
  log_ratio = clamp(ratios.difference(logprobs, old_logprobs))
  ratio = jnp.exp(log_ratio)
  charged, below, above = ratios.charge(ratio, advantages, 1 - clip_low, 1 + clip_high)
  if dual_clip is not None:
    beyond = (advantages < 0) & (ratio > dual_clip)
    charged = jnp.where(beyond, dual_clip, charged)
    above = above | beyond
  return -advantages * charged, ratios.diagnostics(ratio, log_ratio, below, above)
