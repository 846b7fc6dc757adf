"""Likelihood with weights: supervised fine-tuning that does not chase what it finds improbable."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamped_exp
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare()
def dynamic_nll(logprobs: Array) -> tuple[Array, dict[str, Array]]:
  """−sg(π)·ℓ, π = exp(ℓ): dynamic fine-tuning (DFT).

  The likelihood's gradient is that of a policy gradient with the weight 1/π; this takes it away.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.

  Returns:
    (loss [..., T], no diagnostics).

  Examples:
    >>> loss = lambda logprobs: losses.dynamic_nll(logprobs)[0].sum()
    >>> # −π: what is unlikely weighs little
    >>> print(jax.grad(loss)(jnp.log(jnp.array([[0.9, 0.5, 0.1]]))))
    [[-0.9 -0.5 -0.1]]

  Source: Wu et al. 2025, arXiv 2508.05629, equation 9.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  logprobs = widen(logprobs)
  return -clamped_exp(jax.lax.stop_gradient(logprobs)) * logprobs, {}


@declare()
def importance_weighted_nll(
  logprobs: Array, ref_logprobs: Array, *, low: float = 0.2, high: float = 1.8
) -> tuple[Array, dict[str, Array]]:
  """−sg(clip(π/π^ref, low, high))·ℓ: demonstrations that the policy has moved towards count more.

  A tighter bound on the reward of filtered demonstrations than the likelihood; at the reference it
  is the likelihood.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    ref_logprobs: float [..., T], nats, of the policy at the start of the stage. Constant.
    low: least weight.
    high: largest weight.

  Returns:
    (loss [..., T], diagnostics: `token_weight`).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> print(losses.importance_weighted_nll(new, old)[1]['token_weight'])
    [[1.8 1.  0.2]]

  Source: Qin and Springenberg 2025, arXiv 2507.12856 (iw-SFT), and the authors' code.
  Differs from the source: the weight is of the token, a variant in the authors' code; its default
    is exp of the mean log-ratio of the completion, in [0, 16].
  Fidelity: adapted
  """
  logprobs = widen(logprobs)
  ratio = clamped_exp(jax.lax.stop_gradient(logprobs) - widen(ref_logprobs))
  weight = jax.lax.stop_gradient(jnp.clip(ratio, low, high))
  return -weight * logprobs, {'token_weight': weight}
