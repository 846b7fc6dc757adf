"""ASPO: tokens to be reinforced have the reciprocal ratio as their weight."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare(traits=('on_policy_is_reinforce',))
def aspo(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  dual_clip: float = 3.0,
) -> tuple[Array, dict[str, Array]]:
  """−A·w·(π/sg π), w = sg(min(1/r, dual_clip)) where A > 0, sg(min(r, dual_clip)) elsewhere.

  PPO's ratio gives tokens with A > 0 the more weight, the more probable they have become; here they
  get the less. What PPO's band drops is dropped by the same ratio r = exp(ℓ − ℓ°): A > 0 and
  r > 1 + clip_high, A < 0 and r < 1 − clip_low have the weight of the bound and no gradient. The
  dual clip is soft: it bounds the weight and keeps the gradient.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°, of the policy that drew the tokens. Constant.
    advantages: float [..., T]. Constant.
    clip_low: width of the band below 1, fraction.
    clip_high: width of the band above 1, fraction.
    dual_clip: the largest weight.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` r, `clip_low` and `clip_high` 1 where the
    bound took the gradient away, `kl_old` the k3 estimate, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> loss, seen = losses.aspo(new, old, jnp.array([[-1.0, 1.0, 1.0]]))
    >>> print(loss)  # A > 0: what has become less likely weighs more, 1/0.2, up to 3
    [[ 1.8 -1.  -3. ]]

  Source: Wang et al. 2025, arXiv 2510.06062, section 6; the dual clip at 3, and that it keeps the
    gradient where A < 0 too: public implementations.
  Differs from the source: log-ratios are clamped to ±20.
  Fidelity: faithful
  """
  advantages = ratios.constant(advantages)
  log_ratio = clamp(ratios.difference(logprobs, old_logprobs))
  ratio = jnp.exp(sg(log_ratio))
  charged, below, above = ratios.charge(ratio, advantages, 1 - clip_low, 1 + clip_high)
  weight = jnp.minimum(jnp.where(advantages > 0, 1 / charged, charged), dual_clip)
  one = jnp.where(below | above, 1, jnp.exp(log_ratio - sg(log_ratio)))  # π / sg(π)
  return -advantages * weight * one, ratios.diagnostics(ratio, sg(log_ratio), below, above)
