"""Zero mean and unit variance over the action tokens of an iteration."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.traits import declare

Array = jax.Array


@declare(couples='batch')
def whiten(
  advantages: Array,
  action_mask: Array,
  *,
  epsilon: float = 1e-8,
  ddof: int = 1,
  no_std: bool = False,
) -> Array:
  """(A − mean) / √(var + ε) over action tokens.

  The mean is weighted by length, so a group of equal rewards does not stay at 0. Equal advantages
  everywhere (or a single token) give 0.

  Args:
    advantages: float [..., T]. Constant.
    action_mask: bool [..., T]; the other tokens get 0.
    epsilon: added to the variance.
    ddof: of the variance: 1 = unbiased, 0 = of the population.
    no_std: the mean only is taken off.

  Returns:
    at least float32 [..., T].

  Examples:
    >>> found = jnp.array([[1.0, 2.0, 3.0, 9.0]])
    >>> print(advantages.whiten(found, jnp.array([[True, True, True, False]])))
    [[-1.  0.  1.  0.]]

  Source: public implementations: the advantage normalisation of PPO for language models.
  Differs from the source: equal advantages give exactly 0; nothing else.
  Fidelity: faithful
  """
  advantages = masking.zero_where_not(jax.lax.stop_gradient(advantages), action_mask)
  result = advantages - masking.masked_mean(advantages, action_mask)
  if not no_std:
    variance = masking.masked_var(advantages, action_mask, ddof=ddof)
    result = result * jax.lax.rsqrt(variance + epsilon)
  keep = action_mask & ~masking.is_constant(advantages, action_mask)
  return jnp.where(keep, result, 0)
