"""GPPO and CE-GPPO: clipped tokens keep a bounded gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare(traits=('on_policy_is_reinforce',))
def bounded_gradient_clip(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  beta_low: float = 1.0,
  beta_high: float = 1.0,
  dual_clip: float | None = None,
) -> tuple[Array, dict[str, Array]]:
  """PPO's clip, but a token clipped at the bound b has −β·b·(r/sg(r))·A, so the gradient −β·b·A·∇ℓ.

  β = 1 is GPPO: the value of PPO, and beyond a bound the gradient that it had on the bound.
  CE-GPPO takes a smaller β_low (its authors .5 or .75) and β_high = 1: rare tokens with A > 0 are
  pushed up more than rare tokens with A < 0 are pushed down, which holds entropy. β = 0 leaves the
  gradient of PPO.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°, of the policy that drew the tokens. Constant.
    advantages: float [..., T]. Constant.
    clip_low: width of the band below 1, fraction.
    clip_high: width of the band above 1, fraction.
    beta_low: of tokens below the band with A < 0.
    beta_high: of tokens above the band with A > 0.
    dual_clip: the largest ratio that a token with A < 0 is charged for (without gradient beyond);
      None = off.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` r, `clip_low` and `clip_high` 1 where the
    bound is charged, `kl_old` the k3 estimate, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> loss = lambda l: losses.bounded_gradient_clip(l, old, jnp.ones((1, 3)))[0].sum()
    >>> print(jax.grad(loss)(new))  # the first ratio is 1.8: PPO has 0 there, GPPO the bound's 1.2
    [[-1.2 -1.  -0.2]]

  Source: Su et al. 2025, arXiv 2508.07629 (GPPO); Su et al. 2025, arXiv 2509.20712 (CE-GPPO).
  Differs from the source: the authors' code has the dual clip at 3, here it is off; log-ratios are
    clamped to ±20 (no gradient beyond).
  Fidelity: faithful
  """
  advantages = ratios.constant(advantages)
  log_ratio = clamp(ratios.difference(logprobs, old_logprobs))
  ratio = jnp.exp(log_ratio)
  _, below, above = ratios.charge(ratio, advantages, 1 - clip_low, 1 + clip_high)
  one = jnp.exp(log_ratio - sg(log_ratio))  # r / sg(r)
  charged = jnp.where(below, beta_low * (1 - clip_low) * one, ratio)
  charged = jnp.where(above, beta_high * (1 + clip_high) * one, charged)
  if dual_clip is not None:
    beyond = (advantages < 0) & (ratio > dual_clip)
    charged = jnp.where(beyond, dual_clip, charged)
    above = above | beyond
  return -advantages * charged, ratios.diagnostics(ratio, log_ratio, below, above)
