"""VeriFree: the likelihood of the reference answer as the objective, in two parts of a sample."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.losses.ratios import constant
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare(couples='sequence')
def verifree(
  logprobs: Array,
  advantages: Array,
  rewards: Array,
  reference_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
) -> tuple[Array, dict[str, Array]]:
  """reasoning: −A·ℓ;  reference: −R·ℓ.

  With R = π(y*|x, z) and A = R less a baseline, both summed over tokens, its expectation over the
  reasoning z has the gradient of −E_z[π(y*|x, z)]: ∇π = π·∇log π.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    advantages: float [..., T]. Constant.
    rewards: float [N], R; not finite = unscorable: 0. Constant.
    reference_mask: bool [..., T], the tokens of y*; see `rollouts.reference_likelihood`.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].

  Returns:
    (loss [..., T], diagnostics: `reference` 1 on the tokens of y*).

  Examples:
    >>> logprobs, advantages = jnp.full((1, 3), -1.0), jnp.full((1, 3), 0.1)
    >>> reference = jnp.array([[False, False, True]])
    >>> where = reference, jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)
    >>> print(losses.verifree(logprobs, advantages, jnp.array([0.6]), *where)[0])
    [[0.1 0.1 0.6]]

  Source: VeriFree, "Reinforcing General Reasoning without Verifiers" (2025).
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  reward = masking.zero_where_not(rewards, jnp.isfinite(rewards))
  reward = masking.sample_to_token(reward, sample_ids, segment_ids)
  weight = constant(jnp.where(reference_mask, reward, widen(advantages)))
  return -weight * widen(logprobs), {'reference': reference_mask.astype(weight.dtype)}
