"""CISPO: REINFORCE with a bounded ratio as its weight."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp
from rljax.losses import ratios
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare(traits=('on_policy_is_reinforce',))
def cispo(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  *,
  clip_low: float = 0.0,
  clip_high: float = 5.0,
) -> tuple[Array, dict[str, Array]]:
  """−sg(clip(r, clip_low, clip_high))·A·ℓ, r = exp(ℓ − ℓ°): every token keeps a gradient.

  `clip_low` and `clip_high` are the bounds of the ratio *themselves*, as with ScaleRL (only an
  upper one, 5). Elsewhere the same names mean 1 − clip_low and 1 + clip_high: 1 and 4 there are 0
  and 5 here, and PPO's .2 there is the tight band from .8 to 1.2. With the sampler's log-probs as
  ℓ° it corrects for the sampler too, and a correction of the same ratio would count it twice.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°, of the policy that drew the tokens. Constant.
    advantages: float [..., T]. Constant.
    clip_low: the least weight.
    clip_high: the largest weight.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` r, `clip_low` and `clip_high` 1 where the
    bound is the weight, `kl_old` the k3 estimate of KL(π° ‖ π), nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> loss = lambda l: losses.cispo(l, old, jnp.ones((1, 3)), clip_high=1.2)[0].sum()
    >>> print(jax.grad(loss)(new))  # the ratio is a weight, cut at 1.2; no token loses its gradient
    [[-1.2 -1.  -0.2]]

  Source: MiniMax 2025, arXiv 2506.13585, equations 4 and 5; bounds: Khatri et al. 2025,
    arXiv 2510.13786.
  Differs from the source: the paper writes the bounds as 1 − ε_low and 1 + ε_high; log-ratios are
    clamped to ±20.
  Fidelity: faithful
  """
  log_ratio = clamp(ratios.difference(sg(logprobs), old_logprobs))
  ratio = jnp.exp(log_ratio)
  weight = jnp.clip(ratio, clip_low, clip_high)
  found = ratios.diagnostics(ratio, log_ratio, ratio < clip_low, ratio > clip_high)
  return -weight * ratios.constant(advantages) * widen(logprobs), found
