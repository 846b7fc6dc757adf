"""A reward without labels: agreement with what several members say together."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.advantages.subgroups import subgroup_ids
from rljax.shaping.exploration import coded_answers

Array = jax.Array

_EQUAL = 1e-6  # of the greatest sum of votes: sums that differ by less are equal


def collective_vote(
  rewards: Array,
  group_ids: Array,
  member_ids: Array,
  reward_components: Mapping[str, Array],
  *,
  component: str = 'answer_code',
) -> Array:
  """R' = 1[the sample's answer has the most votes of its group], each vote weighing c_m.

  c_m is the self-consistency of the member m who gives it: the share of its samples of the prompt
  that give its own most frequent answer. With one member it is the majority vote. Takes the place
  of R, which says only which samples are unscorable; its mean is the collective consistency. Of
  equally weighty answers the smallest number wins; a sample without an answer gets 0.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is and does not vote. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    member_ids: int32 [N], such as `rollouts.crowd` gives.
    reward_components: name -> float [N]. Constant.
    component: number of the answer, as `rewards.outcomes.coded` gives it; < 0 = none.

  Returns:
    at least float32 [N].

  Raises:
    ValueError: there is no such component.

  Examples:
    >>> rewards, groups, members = jnp.zeros(3), jnp.zeros(3, int), jnp.array([0, 0, 1])
    >>> answers = {'answer_code': jnp.array([5.0, 5.0, 7.0])}
    >>> # 5 has two votes of one member
    >>> print(shaping.collective_vote(rewards, groups, members, answers))
    [1. 1. 0.]

  Source: Wisdom of the Crowd: Reinforcement Learning from Coevolutionary Collective Feedback
    (2025).
  Differs from the source: the rule for ties; formula not confirmed against the paper.
  Fidelity: recalled
  """
  old, voting, codes = coded_answers(
    'collective_vote', rewards, group_ids, reward_components, component
  )
  _, counted = scored(rewards, group_ids)
  members = subgroup_ids(group_ids, member_ids.astype(jnp.int32))
  own_votes = masking.group_count(subgroup_ids(members, codes), voting).astype(old.dtype)
  samples = jnp.maximum(masking.group_count(members, counted), 1)
  consistency = masking.group_max(own_votes, members, voting) / samples
  answers = subgroup_ids(group_ids, codes)
  votes = masking.group_sum(consistency, answers, voting)
  top = masking.group_max(votes, group_ids, voting)
  winner = masking.group_min(answers, group_ids, voting & (votes >= top * (1 - _EQUAL)))
  return jnp.where(counted, (voting & (answers == winner)).astype(old.dtype), old)
