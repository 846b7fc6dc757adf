"""EKSFT: likelihood of demonstrated tokens that are no forks and have not moved far already."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.ratios import constant
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare()
def selective_nll(
  logprobs: Array,
  entropy: Array,
  full_kl: Array,
  *,
  max_entropy: float = 1.0,
  max_kl: float = 0.5,
) -> tuple[Array, dict[str, Array]]:
  """−ℓ where H ≤ max_entropy and KL(π ‖ π^ref) ≤ max_kl, else 0.

  Where the policy is uncertain, and where it has left the reference already, demonstrations teach
  nothing more: what the start could do otherwise is kept for RL to explore. A token that is left
  out stays in the denominator.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    entropy: float [..., T], nats, of the policy at the token. Constant.
    full_kl: float [..., T], nats, over the whole vocabulary, to the policy at the start of the
      stage. Constant.
    max_entropy: nats.
    max_kl: nats.

  Returns:
    (loss [..., T], diagnostics: `kept` 1 where the token is learnt).

  Examples:
    >>> logprobs = jnp.full((1, 3), -1.0)
    >>> entropy, kl = jnp.array([[0.1, 2.0, 0.1]]), jnp.array([[0.1, 0.1, 2.0]])
    >>> # Uncertain, or moved already: not learnt
    >>> print(losses.selective_nll(logprobs, entropy, kl)[0])
    [[1. 0. 0.]]

  Source: EKSFT, Entropy-KL Divergence-based Token Masking (2026).
  Differs from the source: formula not confirmed against the paper; thresholds are in nats, where it
    may have quantiles, and their defaults are guesses.
  Fidelity: recalled
  """
  logprobs, entropy, full_kl = widen(logprobs), constant(entropy), constant(full_kl)
  keep = (entropy <= max_entropy) & (full_kl <= max_kl)
  return jnp.where(keep, -logprobs, 0), {'kept': keep.astype(logprobs.dtype)}
