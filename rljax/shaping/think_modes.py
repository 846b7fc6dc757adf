"""AutoThink: what a right or wrong answer is worth with thinking and without."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored

Array = jax.Array


def think_modes(
  rewards: Array,
  group_ids: Array,
  reward_components: Mapping[str, Array],
  *,
  component: str = 'thinks',
  above: float = 0.5,
  think_right: float = 1.0,
  think_wrong: float = 0.0,
  direct_right: float = 2.0,
  direct_wrong: float = -1.0,
  balance: float = 0.0,
  target: float = 0.5,
  threshold: float = 0.5,
) -> Array:
  """R' = (1 − δ)·table[mode, right] + δ·min(table), δ = clip(balance·(share − target), 0, 1).

  Takes the place of R. A direct answer pays more if it is right and costs more if it is wrong. With
  `balance` the mode that too many samples of the batch are in is worth less, so that neither dies
  out. The share is that of the sample's own mode.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    reward_components: name -> float [N]. Constant. A sample whose component is not finite stays as
      it is and has no share.
    component: says whether a sample thinks.
    above: a sample thinks whose component is greater, in units of it.
    think_right, think_wrong, direct_right, direct_wrong: the table.
    balance: how fast a mode loses its worth, per unit of share; a schedule makes it a first stage.
    target: wanted share of samples that think, as a fraction; the others are the rest.
    threshold: a reward of at least this is a right answer.

  Returns:
    at least float32 [N].

  Raises:
    ValueError: there is no such component.

  Examples:
    >>> rewards, thinks = jnp.array([1.0, 0.0, 1.0, 0.0]), jnp.array([1.0, 1.0, 0.0, 0.0])
    >>> print(shaping.think_modes(rewards, jnp.zeros(4, int), {'thinks': thinks}))
    [ 1.  0.  2. -1.]

  Source: Learning When to Think: Shaping Adaptive Reasoning in R1-Style Models via Multi-Stage RL
    (2025).
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  if component not in reward_components:
    known = ', '.join(sorted(reward_components)) or 'none'
    raise ValueError(f'think_modes: no component {component!r}; there are {known}')
  old = jax.lax.stop_gradient(masking.widen(rewards))
  rewards, counted = scored(rewards, group_ids)
  said, present = scored(reward_components[component], group_ids)
  counted = counted & present
  thinks, right = said > above, rewards >= threshold
  with_thinking = jnp.where(right, think_right, think_wrong)
  without = jnp.where(right, direct_right, direct_wrong)
  worst = jnp.min(jnp.stack([think_right, think_wrong, direct_right, direct_wrong]))
  share = masking.masked_mean(thinks.astype(old.dtype), counted)
  excess = balance * jnp.where(thinks, share - target, target - share)
  loss = jnp.clip(excess, 0, 1)
  worth = (1 - loss) * jnp.where(thinks, with_thinking, without) + loss * worst
  return jnp.where(counted, worth, old)
