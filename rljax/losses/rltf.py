"""RLTF: single-turn policy learns from second attempts, and to say what feedback would say."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.losses.ratios import constant
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare()
def rltf(
  logprobs: Array,
  advantages: Array,
  is_external: Array,
  feedback_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  distill_coef: float = 1.0,
  feedback_coef: float = 0.1,
) -> tuple[Array, dict[str, Array]]:
  """first attempts: −A·ℓ;  second ones behind x alone: −c_d·A·ℓ;  feedback: −c_f·ℓ.

  RLTF-SD is the second part (no ratio: the policy that drew them saw the feedback), RLTF-FM the
  third.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    advantages: float [..., T], as of `advantages.own_baseline`. Constant.
    is_external: bool [N], of second attempts; see `rollouts.feedback_turn`.
    feedback_mask: bool [..., T], the tokens of the feedback.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    distill_coef: c_d; 0 = without.
    feedback_coef: c_f; 0 = without.

  Returns:
    (loss [..., T], diagnostics: `external` and `feedback`, 1 on those tokens).

  Examples:
    >>> logprobs, advantages = jnp.full((1, 3), -1.0), jnp.ones((1, 3))
    >>> said = jnp.array([[False, False, True]])  # the last token is feedback
    >>> where = jnp.array([False]), said, jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)
    >>> print(losses.rltf(logprobs, advantages, *where)[0])
    [[1.  1.  0.1]]

  Source: RLTF, "Expanding the Capabilities of Reinforcement Learning via Text Feedback" (2026).
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  external = masking.sample_to_token(is_external, sample_ids, segment_ids)
  advantages = constant(advantages)
  weight = jnp.where(external, distill_coef * advantages, advantages)
  weight = jnp.where(feedback_mask, feedback_coef, weight)
  seen = {'external': external & ~feedback_mask, 'feedback': feedback_mask}
  return -weight * widen(logprobs), {name: x.astype(weight.dtype) for name, x in seen.items()}
