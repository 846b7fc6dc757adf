"""Rewards in units of their own spread over the whole run."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored

Array = jax.Array


def running_normalize_init() -> dict[str, Array]:
  """Number of rewards seen, their mean and the sum of squared deviations: float32 scalars, 0.

  Examples:
    >>> print(shaping.running_normalize_init()['count'])
    0.0
  """
  return {name: jnp.zeros((), jnp.float32) for name in ('count', 'mean', 'squares')}


def running_normalize(
  rewards: Array,
  group_ids: Array,
  *,
  state: dict[str, Array],
  center: bool = True,
  epsilon: float = 1e-6,
) -> tuple[Array, dict[str, Array]]:
  """R' = (R − mean) / (σ + ε), mean and σ of all rewards of the run, this batch included.

  The batch's mean and squared deviations are merged with those before it (Welford, Chan), so the
  result does not depend on how the run is cut into iterations. While all rewards seen are equal
  they are not divided.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is and is not counted. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    state: 'count', 'mean', 'squares'; `running_normalize_init`.
    center: whether the mean is taken off. Group-relative estimators take it off anyway.
    epsilon: added to the population σ, in units of the reward.

  Returns:
    (at least float32 [N], the next state).

  Examples:
    >>> state = shaping.running_normalize_init()
    >>> for rewards in (jnp.array([0.0, 2.0, 1.0]), jnp.array([10.0, 10.0, 10.0])):
    ...   shaped, state = shaping.running_normalize(rewards, jnp.zeros(3, int), state=state)
    ...   print(shaped)
    [-1.2247  1.2247  0.    ]
    [0.9919 0.9919 0.9919]

  Source: public implementations: ROLL; the merge: Chan et al. 1983.
  Differs from the source: the rule for equal rewards.
  Fidelity: faithful
  """
  old = jax.lax.stop_gradient(masking.widen(rewards))
  rewards, counted = scored(rewards, group_ids)
  number = jnp.sum(counted).astype(rewards.dtype)
  count = state['count'] + number
  mean_here = masking.masked_mean(rewards, counted)
  apart = mean_here - state['mean']
  share = number / jnp.maximum(count, 1)
  mean = state['mean'] + apart * share
  squares = state['squares'] + masking.masked_sum((rewards - mean_here) ** 2, counted)
  squares = squares + apart**2 * state['count'] * share
  deviation = jnp.sqrt(squares / jnp.maximum(count, 1))
  equal = deviation <= 1e-6 * jnp.maximum(1, jnp.abs(mean))
  result = (rewards - mean if center else rewards) / jnp.where(equal, 1, deviation + epsilon)
  return jnp.where(counted, result, old), {'count': count, 'mean': mean, 'squares': squares}
