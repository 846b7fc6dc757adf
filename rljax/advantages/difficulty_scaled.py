"""Advantages that count more on hard prompts."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(couples='batch')
def difficulty_scaled(
  advantages: Array,
  action_mask: Array,
  rewards: Array,
  group_ids: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  strength: float = 1.0,
  threshold: float = 0.5,
) -> Array:
  """A·((1 − s) + s·(1 − p_g) / mean(1 − p)), p_g the pass rate of the group, s the strength.

  The mean is over the scored samples of the batch, so that the factors have the mean 1. Where all
  answers are right nothing is scaled.

  Args:
    advantages: float [..., T].
    action_mask: bool [..., T]; the other tokens get 0.
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    strength: 0 = as they were, 1 = in proportion to the failures of the group.
    threshold: a reward of at least this is a right answer.

  Returns:
    at least float32 [..., T]. Constant.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> found, mask = jnp.ones((4, 1)), jnp.ones((4, 1), bool)
    >>> where = rewards, groups, jnp.zeros((4, 1), int), jnp.arange(4).reshape(4, 1)
    >>> # All right: nothing to learn
    >>> print(advantages.difficulty_scaled(found, mask, *where).ravel())
    [2. 2. 0. 0.]

  Source: GUI-G1: Understanding R1-Zero-Like Training for Visual Grounding in GUI Agents (2025).
  Differs from the source: the pass rate of the group in the place of the relative size of the box,
    which is the pass rate of a blind guess; formula not confirmed against the paper.
  Fidelity: adapted
  """
  rewards, counted = scored(rewards, group_ids)
  wrong = masking.group_mean((rewards < threshold).astype(rewards.dtype), group_ids, counted)
  mean = masking.masked_mean(wrong, counted)
  relative = jnp.where(mean > 0, wrong / jnp.where(mean > 0, mean, 1), 1)
  factor = jnp.where(counted, 1 - strength + strength * relative, 0)
  known = action_mask & masking.sample_to_token(counted, sample_ids, segment_ids)
  advantages = masking.zero_where_not(jax.lax.stop_gradient(advantages), known)
  return advantages * masking.sample_to_token(factor, sample_ids, segment_ids)
