"""Rewards without labels: agreement within the group, and the policy's own confidence."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.advantages.subgroups import subgroup_ids

Array = jax.Array


def majority_vote(rewards: Array, group_ids: Array, answer_ids: Array) -> Array:
  """R' = 1[the sample's answer is the most frequent one of its group].

  Takes the place of R, which says only which samples are unscorable. Of equally frequent answers
  the smallest number wins; in a group without an answer all get 0.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is and does not vote. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    answer_ids: int32 [N]; equal numbers are equal answers, −1 = no answer: no vote, and 0.

  Returns:
    at least float32 [N].

  Examples:
    >>> print(shaping.majority_vote(jnp.zeros(3), jnp.zeros(3, int), jnp.array([4, 4, 2])))
    [1. 1. 0.]

  Source: Zuo et al. 2025, arXiv 2504.16084 (TTRL).
  Differs from the source: the rule for ties.
  Fidelity: faithful
  """
  old, counted, voting, answers, votes = _votes(rewards, group_ids, answer_ids)
  top = masking.group_max(votes, group_ids, voting)
  winner = masking.group_min(answers, group_ids, voting & (votes == top))
  return jnp.where(counted, (voting & (answers == winner)).astype(old.dtype), old)


def vote_share(rewards: Array, group_ids: Array, answer_ids: Array) -> Array:
  """R' = the share of the group's samples that give the sample's answer.

  Takes the place of R. Its expectation is Σ_a p(a)², so it makes the policy certain of its answers
  without a label; with meanings in place of answers it is semantic entropy minimisation.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is and does not vote. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    answer_ids: int32 [N]; equal numbers are equal answers, −1 = no answer: 0.

  Returns:
    at least float32 [N].

  Examples:
    >>> # −1: no answer
    >>> print(shaping.vote_share(jnp.zeros(3), jnp.zeros(3, int), jnp.array([4, 4, -1])))
    [0.6667 0.6667 0.    ]

  Source: Zhang et al. 2025, arXiv 2504.05812 (EMPO).
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  old, counted, voting, _, votes = _votes(rewards, group_ids, answer_ids)
  share = votes.astype(old.dtype) / jnp.maximum(masking.group_count(group_ids, counted), 1)
  return jnp.where(counted, jnp.where(voting, share, 0), old)


def _votes(
  rewards: Array, group_ids: Array, answer_ids: Array
) -> tuple[Array, Array, Array, Array, Array]:
  """(rewards as given, who counts, who votes, numbers of the answers, votes for one's own)."""
  old = jax.lax.stop_gradient(masking.widen(rewards))
  _, counted = scored(rewards, group_ids)
  voting = counted & (answer_ids >= 0)
  answers = subgroup_ids(group_ids, answer_ids)
  return old, counted, voting, answers, masking.group_count(answers, voting)


def self_certainty_reward(
  rewards: Array,
  old_self_certainty: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  *,
  external: float = 0.0,
) -> Array:
  """R' = external·R + mean_t KL(U ‖ π_t) over the action tokens, U uniform over the vocabulary.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    old_self_certainty: float [..., T], nats, KL(U ‖ π_t) of the policy before the update. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    sample_slots: int32 [N].
    external: factor of the reward that is given.

  Returns:
    at least float32 [N].

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> certainty = jnp.array([[0.2, 0.4, 0.6]])
    >>> print(shaping.self_certainty_reward(jnp.zeros(1), certainty, *row, jnp.array([0])))
    [0.4]

  Source: Zhao et al. 2025, arXiv 2505.19590 (Intuitor).
  Differs from the source: nothing; `external` mixes it with a reward.
  Fidelity: faithful
  """
  mean = _completion_mean(old_self_certainty, action_mask, segment_ids, sample_ids, sample_slots)
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  return jnp.where(jnp.isfinite(rewards), external * rewards + mean, rewards)


def entropy_reward(
  rewards: Array,
  entropy: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  *,
  external: float = 0.0,
) -> Array:
  """R' = external·R − mean_t H(π_t) over the action tokens.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    entropy: float [..., T], nats, of the policy that drew the tokens. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    sample_slots: int32 [N].
    external: factor of the reward that is given.

  Returns:
    at least float32 [N].

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> entropy = jnp.array([[0.2, 0.4, 0.6]])
    >>> print(shaping.entropy_reward(jnp.zeros(1), entropy, *row, jnp.array([0])))
    [-0.4]

  Source: Prabhudesai et al. 2025, arXiv 2505.22660 (RENT).
  Differs from the source: nothing; `external` mixes it with a reward.
  Fidelity: faithful
  """
  mean = _completion_mean(entropy, action_mask, segment_ids, sample_ids, sample_slots)
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  return jnp.where(jnp.isfinite(rewards), external * rewards - mean, rewards)


def _completion_mean(
  x: Array, action_mask: Array, segment_ids: Array, sample_ids: Array, sample_slots: Array
) -> Array:
  """[..., T] -> [N]: the mean over each sample's action tokens; 0 without any."""
  places = (action_mask, segment_ids, sample_slots, sample_ids.shape[-1])
  total = masking.token_to_sample_sum(jax.lax.stop_gradient(x), *places)
  count = masking.token_to_sample_sum(jnp.ones(action_mask.shape), *places)
  return total / jnp.maximum(count, 1)
