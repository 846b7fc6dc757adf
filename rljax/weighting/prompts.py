"""Every prompt counts the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def prompt_mean(
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  group_ids: Array,
) -> Array:
  """1/(Q·N_g): mean over the Q groups of the mean over the N_g loss tokens of each.

  Sums to 1, or to 0 without loss tokens. The samples of a group may lie in several rows.

  Args:
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    sample_slots: int32 [N], flat index of a sample's place in the whole iteration.
    group_ids: int32 [N], of the whole iteration; only samples that `sample_ids` names count.

  Returns:
    float32 [..., T].

  Examples:
    >>> # Completions of 3 and 1 tokens
    >>> mask = jnp.array([[True, True, True], [True, False, False]])
    >>> segments, places = jnp.zeros((2, 3), int), jnp.array([[0], [1]])
    >>> slots, groups = jnp.array([0, 1]), jnp.array([7, 7])  # both of one prompt
    >>> print(weighting.prompt_mean(mask, segments, places, slots, groups))
    [[0.25 0.25 0.25]
     [0.25 0.   0.  ]]

  Source: Yu et al. 2025, arXiv 2503.14476 (DAPO), equation 8.
  Differs from the source: Q counts groups with at least one loss token.
  Fidelity: faithful
  """
  mask = action_mask & (segment_ids >= 0)
  lengths = masking.segment_sum(mask, segment_ids, sample_ids.shape[-1])
  lengths = masking.segment_to_sample_here(lengths, sample_ids, sample_slots)
  present = (lengths > 0) & (group_ids >= 0)
  tokens = masking.group_sum(lengths, group_ids, present)
  first = present & (masking.group_rank(jnp.zeros_like(lengths), group_ids, present) == 0)
  groups = jnp.maximum(jnp.sum(first.astype(jnp.int32)), 1)
  weight = jnp.where(present, 1 / (jnp.maximum(tokens, 1) * groups), 0)
  return jnp.where(mask, masking.sample_to_token(weight, sample_ids, segment_ids), 0)
