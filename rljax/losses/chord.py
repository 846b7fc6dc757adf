"""The supervised part of CHORD."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamped_exp
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare()
def chord_sft(
  logprobs: Array, is_external: Array, segment_ids: Array, sample_ids: Array
) -> tuple[Array, dict[str, Array]]:
  """external: −sg(p·(1 − p))·ℓ, p = exp(ℓ);  own: 0.

  Expert tokens that the policy is sure of, or would never say, count little: neither is its entropy
  lowered further nor its own way of writing torn down. An auxiliary term: CHORD is
  (1 − μ)·L_RL + μ·this, with μ a schedule from 0.9 down to 0.05.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    is_external: bool [N], written by the expert.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].

  Returns:
    (loss [..., T], diagnostics: `external` 1 on the expert's tokens, `token_weight` p·(1 − p)).

  Examples:
    >>> logprobs = jnp.log(jnp.array([[0.9, 0.5, 0.1]]))
    >>> segments, places = jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)
    >>> loss, seen = losses.chord_sft(logprobs, jnp.array([True]), segments, places)
    >>> print(seen['token_weight'])  # neither what is known nor what would never be said
    [[0.09 0.25 0.09]]

  Source: Zhang et al. 2025, arXiv 2508.11408, CHORD-φ; constancy of the weight: the authors' code.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  external = masking.sample_to_token(is_external, sample_ids, segment_ids)
  logprobs = widen(logprobs)
  probability = clamped_exp(jax.lax.stop_gradient(logprobs))
  weight = jnp.where(external, probability * (1 - probability), 0)
  return -weight * logprobs, {'external': external.astype(weight.dtype), 'token_weight': weight}
