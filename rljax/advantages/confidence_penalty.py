"""ACE: a wrong answer that the policy has grown sure of is pushed down harder."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamp
from rljax.traits import declare

Array = jax.Array


@declare()
def confidence_penalty(
  advantages: Array,
  action_mask: Array,
  sequence_old_logprobs: Array,
  sequence_ref_logprobs: Array,
  completion_length: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  alpha: float = 1.0,
  length_norm: bool = False,
) -> Array:
  """A·(1 + α·softplus(c)) where A < 0, else A,  c = Σ_t (ℓ° − ℓ^ref) of the completion.

  c is how much more likely RL has made the completion. Errors that it favours weigh more than
  those that it gives up already, whose factor falls to 1; right answers are left alone. At the
  reference c is 0, and all negative advantages weigh 1 + 0.69·α.

  Args:
    advantages: float [..., T].
    action_mask: bool [..., T]; the other tokens get 0.
    sequence_old_logprobs: float [N], nats, Σ ℓ° before the update.
    sequence_ref_logprobs: float [N], nats, Σ ℓ^ref.
    completion_length: float [N], number of action tokens.
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    alpha: strength; 0 changes nothing.
    length_norm: whether c is divided by the length, nats per token.

  Returns:
    at least float32 [..., T]. Constant.

  Examples:
    >>> wrong, mask = -jnp.ones((2, 1)), jnp.ones((2, 1), bool)
    >>> where = jnp.ones(2), jnp.zeros((2, 1), int), jnp.array([[0], [1]])
    >>> old, ref = jnp.array([-1.0, -5.0]), jnp.array([-3.0, -3.0])
    >>> # What RL favours pays
    >>> print(advantages.confidence_penalty(wrong, mask, old, ref, *where).ravel())
    [-3.1269 -1.1269]

  Source: ACE, Overconfident Errors Need Stronger Correction (2026).
  Differs from the source: formula not confirmed against the paper; c is of the policy before the
    update and not of the present one, which agree in the first step; c is clamped to ±20.
  Fidelity: recalled
  """
  advantages = masking.zero_where_not(jax.lax.stop_gradient(advantages), action_mask)
  old, ref = masking.widen(sequence_old_logprobs), masking.widen(sequence_ref_logprobs)
  shift = jax.lax.stop_gradient(old - ref)
  if length_norm:
    shift = shift / jnp.maximum(completion_length, 1)
  factor = 1 + alpha * jax.nn.softplus(clamp(shift))
  factor = masking.sample_to_token(factor, sample_ids, segment_ids)
  return jnp.where(advantages < 0, advantages * factor, advantages)
