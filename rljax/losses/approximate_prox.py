"""Decoupled PPO whose proximal policy is interpolated instead of computed."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp, clamped_exp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare(traits=('on_policy_is_reinforce',))
def approximate_prox_surrogate(
  logprobs: Array,
  policy_logprobs: Array,
  advantages: Array,
  policy_step: Array,
  step: Array,
  prox_step: Array,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  max_weight: float = 5.0,
) -> tuple[Array, dict[str, Array]]:
  """w·max(−A·r, −A·clip(r, 1−clip_low, 1+clip_high)), r = π/π_prox, w = min(π_prox/μ, max_weight).

  log π_prox = ℓ^μ + α·(sg(ℓ) − ℓ^μ) with α = (prox_step − policy_step)/(step − policy_step): the
  policy as the iteration began, on the line between the sampler's and the present one, without a
  forward pass before the update. α is 0 for tokens drawn as the iteration began, and 1 at the first
  step of the iteration (there π_prox *is* π, whatever drew the token). It must not be combined with
  a correction for the same ratio; with the forward pass, decoupled PPO is `clipped_surrogate` with
  such a correction.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    policy_logprobs: float [..., T], nats, ℓ^μ, of the sampler. Constant.
    advantages: float [..., T]. Constant.
    policy_step: int32 [..., T], optimizer steps of the policy that drew the token.
    step: int32 scalar, optimizer steps so far.
    prox_step: int32 scalar, optimizer steps when the iteration began.
    clip_low: width of the band below 1, fraction.
    clip_high: width of the band above 1, fraction.
    max_weight: the largest weight w.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` r, `clip_low` and `clip_high` 1 where the
    bound took the gradient away, `kl_old` the k3 estimate of KL(π_prox ‖ π), nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> steps = dict(policy_step=jnp.array([[8, 8, 8]]), step=jnp.array(10), prox_step=jnp.array(9))
    >>> loss, seen = losses.approximate_prox_surrogate(new, old, jnp.ones((1, 3)), **steps)
    >>> print(seen['ratio_max'])  # half way from μ to π: ratios √1.8, 1 and √0.2
    [[1.3416 1.     0.4472]]
    >>> print(loss)
    [[-1.61 -1.   -0.2 ]]

  Source: public implementations: AReaL (proximal log-probability approximation, log-linear);
    decoupled PPO: Hilton et al. 2021, arXiv 2110.00641.
  Differs from the source: sg(ℓ) in log π_prox (else the anchor moves with π and the clip never
    binds); α is kept in [0, 1]; weights above the bound are truncated, not dropped.
  Fidelity: adapted
  """
  advantages = ratios.constant(advantages)
  gap = ratios.difference(sg(logprobs), policy_logprobs)
  age = (step - policy_step).astype(gap.dtype)
  alpha = (prox_step - policy_step).astype(gap.dtype) / jnp.where(age > 0, age, 1)
  alpha = jnp.where(step == prox_step, 1, jnp.clip(alpha, 0, 1))
  weight = jnp.minimum(clamped_exp(alpha * gap), max_weight)
  prox_logprobs = ratios.constant(policy_logprobs) + alpha * gap
  log_ratio = clamp(ratios.difference(logprobs, prox_logprobs))
  ratio = jnp.exp(log_ratio)
  charged, below, above = ratios.charge(ratio, advantages, 1 - clip_low, 1 + clip_high)
  return -weight * advantages * charged, ratios.diagnostics(ratio, log_ratio, below, above)
