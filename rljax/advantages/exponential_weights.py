"""Weights of a likelihood that grow exponentially with the reward."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(denominator='samples', couples='batch')
def exponential_weights(
  rewards: Array, group_ids: Array, *, temperature: float = 1.0, max_weight: float = 20.0
) -> Array:
  """A = min(e^{(R − μ)/τ}, max_weight), μ the mean of the batch: always ≥ 0, 1 for the average.

  With the likelihood as the loss it is reward-weighted regression: given completions are learnt,
  the better the more, and none is pushed down.

  Args:
    rewards: float [N]; NaN = unscorable: 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    temperature: τ, units of the reward, > 0.
    max_weight: largest weight.

  Returns:
    at least float32 [N].

  Examples:
    >>> print(advantages.exponential_weights(jnp.array([0.0, 1.0, 2.0]), jnp.array([0, 1, 2])))
    [0.3679 1.     2.7183]

  Source: Peters and Schaal 2007, reward-weighted regression; Peng et al. 2019, arXiv 1910.00177,
    for the bound.
  Differs from the source: the mean of the batch in the place of a value function.
  Fidelity: adapted
  """
  rewards, counted = scored(rewards, group_ids)
  gap = (rewards - masking.masked_mean(rewards, counted)) / temperature
  # The smaller of two exponents: the exponential itself may overflow.
  weight = jnp.exp(jnp.minimum(jnp.where(counted, gap, 0), jnp.log(max_weight)))
  return jnp.where(counted, weight, 0)
