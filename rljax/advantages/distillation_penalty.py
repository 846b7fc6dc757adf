"""On-policy distillation as a part of the advantage."""

from __future__ import annotations

import jax

from rljax import masking
from rljax.traits import declare

Array = jax.Array


@declare()
def distillation_penalty(
  advantages: Array,
  action_mask: Array,
  old_logprobs: Array,
  teacher_logprobs: Array,
  *,
  coef: float = 1.0,
) -> Array:
  """A − coef·(ℓ° − ℓ^T): the sampled token's part of the reverse KL to a teacher.

  On top of any estimator; alone it is `teacher_advantage`. On-policy its expected gradient is that
  of the token-local KL(π ‖ teacher) over the sampled states.

  Args:
    advantages: float [..., T].
    action_mask: bool [..., T]; the other tokens get 0.
    old_logprobs: float [..., T], nats, ℓ°.
    teacher_logprobs: float [..., T], nats, ℓ^T.
    coef: per nat.

  Returns:
    at least float32 [..., T]. Constant.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> print(advantages.distillation_penalty(jnp.ones((1, 3)), jnp.ones((1, 3), bool), new, old))
    [[0.4122 1.     2.6094]]

  Source: public implementations: on-policy distillation of slime; Lu et al. 2025, On-policy
    distillation.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  arrays = (advantages, old_logprobs, teacher_logprobs)
  advantages, old, teacher = (
    masking.zero_where_not(jax.lax.stop_gradient(x), action_mask) for x in arrays
  )
  return advantages - coef * (old - teacher)
