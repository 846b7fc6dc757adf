"""Lp-Reg: what keeps tokens that are rare, but no noise, from being pushed out."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.masking import widen
from rljax.regularizers.estimators import k3
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare()
def low_probability_kl(
  logprobs: Array,
  advantages: Array,
  proxy_logprobs: Array,
  low_probability: Array | None = None,
  *,
  max_probability: float = 0.05,
) -> tuple[Array, dict[str, Array]]:
  """1[A < 0, π low, π < π_proxy]·(π_proxy/π − 1 − log(π_proxy/π)).

  The proxy is the policy before the update with its noise cut away: tokens below κ times the
  largest probability (the authors: 0.02) are dropped, the others renormalised. A low-probability
  token that survived has more probability under the proxy, and the k3 penalty pulls it up there
  against the negative advantage; dropped tokens get nothing. Tokens count as low where
  `low_probability` says so (the authors: the lowest 1 % of those with A < 0 in the batch), or
  without it below a probability.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    advantages: float [..., T]. Constant.
    proxy_logprobs: float [..., T], nats, of the token under the proxy; −inf or NaN where it was
      dropped. Constant.
    low_probability: bool [..., T], or None.
    max_probability: where `low_probability` is None: π below it counts as low.

  Returns:
    (loss [..., T], nats; diagnostics: `covered` 1 on the tokens that are held).

  Examples:
    >>> logprobs = jnp.log(jnp.array([[0.01, 0.01, 0.5]]))
    >>> proxy = jnp.log(jnp.array([[0.02, 0.0, 0.5]]))
    >>> loss, seen = regularizers.low_probability_kl(logprobs, -jnp.ones((1, 3)), proxy)
    >>> print(loss, seen['covered'])  # held: unlikely, pushed down, and kept by the proxy
    [[0.3069 0.     0.    ]] [[1. 0. 0.]]

  Source: Huang et al. 2025, arXiv 2510.03222, and the authors' code.
  Differs from the source: the threshold on π; held tokens keep the clip of their policy loss, and
    the log-ratio is clamped to ±20, not the penalty to 10.
  Fidelity: adapted
  """
  logprobs, proxy = widen(logprobs), sg(widen(proxy_logprobs))
  low = sg(logprobs) < jnp.log(max_probability) if low_probability is None else low_probability != 0
  held = low & (sg(widen(advantages)) < 0) & jnp.isfinite(proxy) & (sg(logprobs) < proxy)
  gap = jnp.where(held, logprobs - jnp.where(held, proxy, 0), 0)
  return jnp.where(held, k3(gap), 0), {'covered': held.astype(logprobs.dtype)}
