"""On-policy distillation as a reward: what the teacher thinks of each token."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.traits import declare

Array = jax.Array


@declare()
def teacher_advantage(
  old_logprobs: Array,
  teacher_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  *,
  gamma: float = 0.0,
) -> Array:
  """A_t = Σ_{k ≥ t} γ^{k−t}·(ℓ^T_k − ℓ°_k).

  γ = 0: the token-local reverse KL to the teacher as a reward (on-policy distillation). γ = 1: that
  of whole sequences (MiniLLM without its length normalisation).

  Args:
    old_logprobs: float [..., T], nats, ℓ°, of the policy that drew the tokens. Constant.
    teacher_logprobs: float [..., T], nats, ℓ^T. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    gamma: discount per action token.

  Returns:
    at least float32 [..., T]; 0 off action tokens.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(advantages.teacher_advantage(new, old, *row[:2]))  # the teacher's log-prob less ours
    [[-0.5878  0.      1.6094]]
    >>> print(advantages.teacher_advantage(new, old, *row[:2], gamma=1.0))
    [[1.0217 1.6094 1.6094]]

  Source: Gu et al. 2023, arXiv 2306.08543, equation 3; Thinking Machines 2025, "On-policy
    distillation" (γ = 0).
  Differs from the source: no length normalisation, no mixing with the teacher's samples.
  Fidelity: adapted
  """
  gap = masking.widen(teacher_logprobs) - masking.widen(old_logprobs)
  gap = jax.lax.stop_gradient(masking.zero_where_not(gap, action_mask))
  decay = jnp.where(action_mask, gamma, 1.0)
  returns = masking.reverse_segment_scan(decay, gap, segment_ids)
  return jnp.where(action_mask, returns, 0)
