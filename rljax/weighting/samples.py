"""Weights of losses that have one value for each sample, or for each group."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def sample_mean(action_mask: Array, segment_ids: Array, sample_ids: Array) -> Array:
  """1/B on each of the B samples of the minibatch: the mean over samples.

  For losses of whole samples. A sample without loss tokens is in no mean. Sums to 1, or to 0
  without loss tokens.

  Args:
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].

  Returns:
    float32 [..., S]: on the places of the samples in their rows.

  Examples:
    >>> # Completions of 3 and 1 tokens
    >>> mask = jnp.array([[True, True, True], [True, False, False]])
    >>> segments, places = jnp.zeros((2, 3), int), jnp.array([[0], [1]])
    >>> print(weighting.sample_mean(mask, segments, places))
    [[0.5]
     [0.5]]

  Source: the mean over sequences of sequence-level losses, as in Zheng et al. 2025,
    arXiv 2507.18071 (GSPO).
  Differs from the source: B counts samples with at least one loss token.
  Fidelity: faithful
  """
  present = _present(action_mask, segment_ids, sample_ids)
  count = jnp.maximum(jnp.sum(present.astype(jnp.int32)), 1)
  return jnp.where(present, jnp.float32(1) / count, 0)


def group_mean(
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  group_ids: Array,
) -> Array:
  """1/Q on every sample of the Q groups of the minibatch: the mean over groups.

  For losses of pairs and groups, which stand on one sample of the group and are 0 on the others. A
  group without loss tokens is in no mean.

  Args:
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    sample_slots: int32 [N], flat index of a sample's place in the whole iteration.
    group_ids: int32 [N], of the whole iteration; only samples that `sample_ids` names count.

  Returns:
    float32 [..., S]: on the places of the samples in their rows; 0 on samples without loss tokens.

  Examples:
    >>> # Completions of 3 and 1 tokens
    >>> mask = jnp.array([[True, True, True], [True, False, False]])
    >>> segments, places = jnp.zeros((2, 3), int), jnp.array([[0], [1]])
    >>> slots, groups = jnp.array([0, 1]), jnp.array([7, 7])  # one group, so one loss
    >>> print(weighting.group_mean(mask, segments, places, slots, groups))
    [[1.]
     [1.]]

  Source: the mean over pairs of Rafailov et al. 2023, arXiv 2305.18290 (DPO), equation 7.
  Differs from the source: Q counts groups with at least one loss token.
  Fidelity: faithful
  """
  present = _present(action_mask, segment_ids, sample_ids)
  here = masking.segment_to_sample_here(present, sample_ids, sample_slots) & (group_ids >= 0)
  first = here & (masking.group_rank(jnp.zeros(here.shape), group_ids, here) == 0)
  count = jnp.maximum(jnp.sum(first.astype(jnp.int32)), 1)
  grouped = present & masking.sample_to_segment(here, sample_ids)
  return jnp.where(grouped, jnp.float32(1) / count, 0)


def _present(action_mask: Array, segment_ids: Array, sample_ids: Array) -> Array:
  """bool [..., S]: the samples with at least one loss token."""
  mask = action_mask & (segment_ids >= 0)
  return masking.segment_sum(mask, segment_ids, sample_ids.shape[-1]) > 0
