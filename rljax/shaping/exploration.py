"""Bonuses for final answers that are rare: over the run, and within a group."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.advantages.subgroups import subgroup_ids

Array = jax.Array

CENTERS = ('none', 'group')


def outcome_bonus_init(*, size: int = 65536) -> dict[str, Array]:
  """How often each (prompt, answer) was given, by its hash: int32 [size], 0.

  Examples:
    >>> print(shaping.outcome_bonus_init(size=4))
    {'counts': Array([0, 0, 0, 0], dtype=int32)}
  """
  return {'counts': jnp.zeros(size, jnp.int32)}


def outcome_bonus(
  rewards: Array,
  group_ids: Array,
  prompt_ids: Array,
  reward_components: Mapping[str, Array],
  *,
  state: dict[str, Array],
  component: str = 'answer_code',
  coefficient: float = 0.1,
  center: str = 'none',
  shift: float = 0.0,
  size: int = 65536,
) -> tuple[Array, dict[str, Array]]:
  """R' = R + c·(b − shift), b = min(1, 1/√N), N how often the prompt had this answer before.

  UCB of the source; with center 'group' the mean of b over the group is taken off too (UCB-Mean),
  with a shift answers that are well known cost (UCB-Con). A sample without an answer gets 0 for
  c·(…). Prompts must come up again for N to say anything.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is and is not counted. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    prompt_ids: int32 [N].
    reward_components: name -> float [N]. Constant.
    state: 'counts'; `outcome_bonus_init`.
    component: number of the answer, as `rewards.outcomes.coded` gives it; < 0 = none.
    coefficient: c, in units of the reward.
    center: 'none' or 'group'.
    shift: in units of b, in [0, 1].
    size: places of the table of counts. Pairs of one place share their count.

  Returns:
    (at least float32 [N], the next state).

  Raises:
    ValueError: an unknown center, or no such component.

  Examples:
    >>> rewards, groups, prompts = jnp.zeros(2), jnp.zeros(2, int), jnp.array([3, 3])
    >>> answers, state = {'answer_code': jnp.array([5.0, 5.0])}, shaping.outcome_bonus_init()
    >>> for _ in range(2):
    ...   bonus, state = shaping.outcome_bonus(rewards, groups, prompts, answers, state=state)
    ...   print(bonus)  # what was answered twice before is worth less
    [0.1 0.1]
    [0.0707 0.0707]

  Source: Outcome-based Exploration for LLM Reasoning (2025), historical exploration.
  Differs from the source: counts by hash; formulas of the centred forms not confirmed against the
    paper.
  Fidelity: recalled
  """
  if center not in CENTERS:
    raise ValueError(f'outcome_bonus: center {center!r} is not one of {", ".join(CENTERS)}')
  old, answered, answers = coded_answers(
    'outcome_bonus', rewards, group_ids, reward_components, component
  )
  place = _hash(prompt_ids, answers) % jnp.uint32(size)
  counts = state['counts']
  bonus = jax.lax.rsqrt(jnp.maximum(counts[place], 1).astype(old.dtype))
  if center == 'group':
    bonus = bonus - masking.group_mean(bonus, group_ids, answered)
  shaped = jnp.where(answered, old + coefficient * (bonus - shift), old)
  return shaped, {'counts': counts.at[place].add(answered.astype(jnp.int32))}


def repeated_outcome(
  rewards: Array,
  group_ids: Array,
  reward_components: Mapping[str, Array],
  *,
  component: str = 'answer_code',
  coefficient: float = 0.1,
) -> Array:
  """R'_i = R_i − c·#{j ≠ i of the group: a_j = a_i} / (G − 1).

  A sample without an answer pays nothing.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is and is not compared. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    reward_components: name -> float [N]. Constant.
    component: number of the answer, as `rewards.outcomes.coded` gives it; < 0 = none.
    coefficient: c, in units of the reward.

  Returns:
    at least float32 [N].

  Raises:
    ValueError: there is no such component.

  Examples:
    >>> answers = {'answer_code': jnp.array([5.0, 5.0, 7.0])}
    >>> print(shaping.repeated_outcome(jnp.ones(3), jnp.zeros(3, int), answers))
    [0.95 0.95 1.  ]

  Source: Outcome-based Exploration for LLM Reasoning (2025), batch exploration.
  Differs from the source: the divisor is not confirmed against the paper.
  Fidelity: recalled
  """
  old, answered, answers = coded_answers(
    'repeated_outcome', rewards, group_ids, reward_components, component
  )
  _, counted = scored(rewards, group_ids)
  others = jnp.maximum(masking.group_count(group_ids, counted) - 1, 1)
  same = masking.group_count(subgroup_ids(group_ids, answers), answered) - 1
  return jnp.where(answered, old - coefficient * same / others, old)


def coded_answers(
  label: str, rewards: Array, group_ids: Array, components: Mapping[str, Array], component: str
) -> tuple[Array, Array, Array]:
  """(rewards as given, who is scored and has an answer, numbers of the answers).

  Args:
    label: of the function whose mistake a message names.
    rewards: float [N]; not finite = unscorable.
    group_ids: int32 [N]; −1 = unused.
    components: name -> float [N].
    component: number of the answer; < 0 or not finite = none.

  Raises:
    ValueError: there is no such component.
  """
  if component not in components:
    known = ', '.join(sorted(components)) or 'none'
    raise ValueError(f'{label}: no component {component!r}; there are {known}')
  old = jax.lax.stop_gradient(masking.widen(rewards))
  _, counted = scored(rewards, group_ids)
  codes, present = scored(components[component], group_ids)
  return old, counted & present & (codes >= 0), codes.astype(jnp.int32)


def _hash(prompt_ids: Array, answers: Array) -> Array:
  mixed = prompt_ids.astype(jnp.uint32) * jnp.uint32(0x9E3779B1)
  for rest in (answers.astype(jnp.uint32), jnp.uint32(0)):
    mixed = (mixed ^ (mixed >> 15) ^ rest) * jnp.uint32(0x85EBCA77)
  return mixed ^ (mixed >> 13)
