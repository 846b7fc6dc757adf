"""Zero mean and unit variance over the action tokens of an iteration."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.traits import declare

Array = jax.Array


@declare(couples='batch')
def whiten(advantages: Array, action_mask: Array, *, epsilon: float = 1e-8) -> Array:
  """(A − mean) / √(var + ε) over action tokens, with the unbiased variance.

  The mean is weighted by length, so a group of equal rewards does not stay at 0. Equal advantages
  everywhere (or a single token) give 0.

  Args:
    advantages: float [..., T]. Constant.
    action_mask: bool [..., T]; the other tokens get 0.
    epsilon: added to the variance.

  Returns:
    at least float32 [..., T].

  Source: the advantage normalisation of Schulman et al. 2017's implementation.
  Differs from the source: ε stands under the root, as in public language-model implementations.
  """
  advantages = masking.zero_where_not(jax.lax.stop_gradient(advantages), action_mask)
  centred = advantages - masking.masked_mean(advantages, action_mask)
  scale = jax.lax.rsqrt(masking.masked_var(advantages, action_mask, ddof=1) + epsilon)
  keep = action_mask & ~masking.is_constant(advantages, action_mask)
  return jnp.where(keep, centred * scale, 0)
