"""LASER: right answers that keep to a length earn a bonus; nothing is cut off."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored

Array = jax.Array

LEVELS = 3  # easy, medium, hard


def step_bonus(
  rewards: Array,
  completion_length: Array,
  *,
  target: float = 1000.0,
  alpha: float = 0.5,
  explore: float = 0.0,
  threshold: float = 0.5,
) -> Array:
  """R' = R + α·1[right]·1[T ≤ L] + explore·1[wrong]·1[T > L].

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    completion_length: float [N], T, action tokens. Constant.
    target: L, action tokens.
    alpha: bonus of a right answer, in units of the reward.
    explore: bonus of a wrong answer that goes beyond L; > 0 is LASER-DE.
    threshold: a reward of at least this is a right answer.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, length = jnp.array([1.0, 1.0, 0.0]), jnp.array([800.0, 1200.0, 1200.0])
    >>> print(shaping.step_bonus(rewards, length))
    [1.5 1.  0. ]
    >>> print(shaping.step_bonus(rewards, length, explore=0.2))
    [1.5 1.  0.2]

  Source: Learn to Reason Efficiently with Adaptive Length-based Reward Shaping (2025), LASER.
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  length = jax.lax.stop_gradient(masking.widen(completion_length))
  right, within = rewards >= threshold, length <= target
  bonus = jnp.where(right & within, alpha, 0) + jnp.where(~right & ~within, explore, 0)
  return jnp.where(jnp.isfinite(rewards), rewards + bonus, rewards)


def adaptive_step_bonus_init(*, max_length: float = 1000.0) -> dict[str, Array]:
  """Targets of the levels, float32 [3], action tokens, and the calls so far, int32 scalar.

  Examples:
    >>> print(shaping.adaptive_step_bonus_init()['targets'])
    [1000. 1000. 1000.]
  """
  targets = jnp.full(LEVELS, max_length, jnp.float32)
  return {'targets': targets, 'calls': jnp.zeros((), jnp.int32)}


def adaptive_step_bonus(
  rewards: Array,
  group_ids: Array,
  completion_length: Array,
  *,
  state: dict[str, Array],
  max_length: float = 1000.0,
  every: int = 10,
  needed: float = 1.0,
  easy: float = 0.667,
  hard: float = 0.333,
  alpha: float = 0.5,
  explore: float = 0.0,
  threshold: float = 0.5,
) -> tuple[Array, dict[str, Array]]:
  """`step_bonus` with a target for each level: L = the least T with E[right within T] ≥ needed.

  The level of a group is its pass rate: easy from `easy` on, hard below `hard`. In every
  `every`-th call a level's target becomes the shortest length at which its groups have `needed`
  right answers each, on average; `max_length` where there are not so many. A level that no group
  is of keeps its target.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    completion_length: float [N], T, action tokens. Constant.
    state: 'targets', 'calls'; `adaptive_step_bonus_init`.
    max_length: the target where no length is enough, action tokens.
    every: calls between estimates, the first call being one.
    needed: right answers of a group within the target.
    easy: least pass rate of an easy group, as a fraction.
    hard: pass rate below which a group is hard, as a fraction.
    alpha, explore, threshold: as in `step_bonus`.

  Returns:
    (at least float32 [N], the next state).

  Raises:
    ValueError: every < 1.

  Examples:
    >>> rewards, length = jnp.array([1.0, 1.0, 0.0]), jnp.array([300.0, 700.0, 200.0])
    >>> state = shaping.adaptive_step_bonus_init()
    >>> shaped, state = shaping.adaptive_step_bonus(rewards, jnp.zeros(3, int), length, state=state)
    >>> print(shaped, state['targets'])  # a middling prompt: one right answer within 300
    [1.5 1.  0. ] [1000.  300. 1000.]

  Source: Learn to Reason Efficiently with Adaptive Length-based Reward Shaping (2025), LASER-D.
  Differs from the source: estimated on the samples of the iteration, not on a monitor set;
    formula not confirmed against the paper.
  Fidelity: adapted
  """
  if every < 1:
    raise ValueError(f'adaptive_step_bonus: every {every} is below 1')
  old = jax.lax.stop_gradient(masking.widen(rewards))
  rewards, counted = scored(rewards, group_ids)
  length = masking.zero_where_not(jax.lax.stop_gradient(completion_length), counted)
  right = counted & (rewards >= threshold)
  size = jnp.maximum(masking.group_count(group_ids, counted), 1)
  rate = masking.group_count(group_ids, right) / size
  level = jnp.where(rate >= easy, 0, jnp.where(rate < hard, 2, 1))
  level = jnp.where(counted, level, -1)
  # The k-th shortest right answer of a level is where its groups have k together.
  place = masking.group_rank(-length, level, right) + 1
  targets = []
  for number in range(LEVELS):
    here = level == number
    groups = jnp.sum(jnp.where(here, 1 / size, 0))
    enough = right & here & (place >= needed * groups - 1e-3)
    found = jnp.minimum(jnp.min(jnp.where(enough, length, jnp.inf)), max_length)
    targets.append(jnp.where(groups > 0, found, state['targets'][number]))
  due = state['calls'] % every == 0
  targets = jnp.where(due, jnp.stack(targets), state['targets'])
  hyper = {'alpha': alpha, 'explore': explore, 'threshold': threshold}
  shaped = step_bonus(old, length, target=targets[level], **hyper)
  return jnp.where(counted, shaped, old), {'targets': targets, 'calls': state['calls'] + 1}
