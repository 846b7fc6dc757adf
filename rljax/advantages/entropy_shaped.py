"""Advantages that grow with the policy's entropy at the token."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.traits import declare

Array = jax.Array


@declare()
def entropy_shaped(
  advantages: Array,
  action_mask: Array,
  old_entropy: Array,
  *,
  alpha: float = 0.4,
  kappa: float = 2.0,
) -> Array:
  """A + min(α·H, |A|/κ), H the entropy of the policy at the token, constant.

  κ > 1 keeps the sign of A, and A = 0 stays 0. Not an entropy bonus: no gradient raises H; tokens
  that were chosen in doubt are pushed up more, and down less. H takes a forward pass before the
  update, in the exactly on-policy regime too.

  Args:
    advantages: float [..., T].
    action_mask: bool [..., T]; the other tokens get 0.
    old_entropy: float [..., T], nats, before the update.
    alpha: per nat.
    kappa: the bonus is at most |A|/κ.

  Returns:
    at least float32 [..., T]. Constant.

  Examples:
    >>> found, entropy = jnp.array([[1.0, 1.0, -1.0]]), jnp.array([[0.1, 2.0, 2.0]])
    >>> mask = jnp.ones((1, 3), bool)
    >>> # Uncertain tokens gain, at most |A|/κ
    >>> print(advantages.entropy_shaped(found, mask, entropy))
    [[ 1.04  1.5  -0.5 ]]

  Source: Cheng et al. 2025, arXiv 2506.14758.
  Differs from the source: formula not confirmed against the paper; H is of the policy before the
    update and not of the present one, which agree in the first step.
  Fidelity: recalled
  """
  advantages, entropy = (
    masking.zero_where_not(jax.lax.stop_gradient(x), action_mask) for x in (advantages, old_entropy)
  )
  return advantages + jnp.minimum(alpha * entropy, jnp.abs(advantages) / kappa)
