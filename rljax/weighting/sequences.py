"""Every sample counts the same, or counts its tokens over a constant."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def _lengths(action_mask: Array, segment_ids: Array, sample_ids: Array) -> tuple[Array, Array]:
  """(loss tokens of the token's sample [..., T], samples with a loss token, scalar)."""
  mask = action_mask & (segment_ids >= 0)
  lengths = masking.segment_sum(mask, segment_ids, sample_ids.shape[-1])
  count = jnp.maximum(jnp.sum((lengths > 0).astype(jnp.int32)), 1)
  return masking.segment_to_token(lengths, segment_ids), count


def seq_mean_token_mean(action_mask: Array, segment_ids: Array, sample_ids: Array) -> Array:
  """1/(B·T_i): mean over the B samples of the mean over the T_i loss tokens of each.

  Long completions are punished less per token. Sums to 1, or to 0 without loss tokens.

  Args:
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.

  Returns:
    float32 [..., T].

  Examples:
    >>> # Completions of 3 and 1 tokens
    >>> mask = jnp.array([[True, True, True], [True, False, False]])
    >>> segments, places = jnp.zeros((2, 3), int), jnp.array([[0], [1]])
    >>> print(weighting.seq_mean_token_mean(mask, segments, places))  # each completion counts ½
    [[0.1667 0.1667 0.1667]
     [0.5    0.     0.    ]]

  Source: Shao et al. 2024, arXiv 2402.03300, equation 3.
  Differs from the source: B counts samples with at least one loss token.
  Fidelity: faithful
  """
  lengths, count = _lengths(action_mask, segment_ids, sample_ids)
  return jnp.where(action_mask & (lengths > 0), 1 / (jnp.maximum(lengths, 1) * count), 0)


def seq_mean_token_sum(action_mask: Array, segment_ids: Array, sample_ids: Array) -> Array:
  """1/B: mean over the B samples of the sum over the loss tokens of each.

  Args:
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.

  Returns:
    float32 [..., T]; sums to the mean number of loss tokens of a sample.

  Examples:
    >>> # Completions of 3 and 1 tokens
    >>> mask = jnp.array([[True, True, True], [True, False, False]])
    >>> segments, places = jnp.zeros((2, 3), int), jnp.array([[0], [1]])
    >>> print(weighting.seq_mean_token_sum(mask, segments, places))
    [[0.5 0.5 0.5]
     [0.5 0.  0. ]]

  Source: the log-probability of a sequence as the unit: Williams 1992; Ahmadian et al. 2024,
    arXiv 2402.14740.
  Differs from the source: B counts samples with at least one loss token.
  Fidelity: faithful
  """
  lengths, count = _lengths(action_mask, segment_ids, sample_ids)
  return jnp.where(action_mask & (lengths > 0), jnp.float32(1) / count, 0)


def fixed_length(
  action_mask: Array, segment_ids: Array, sample_ids: Array, *, max_completion_length: int
) -> Array:
  """1/(B·C) with a constant C: no dependence on lengths (Dr. GRPO).

  Args:
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    max_completion_length: C, tokens.

  Returns:
    float32 [..., T]; sums to the mean number of loss tokens of a sample over C.

  Examples:
    >>> # Completions of 3 and 1 tokens
    >>> mask = jnp.array([[True, True, True], [True, False, False]])
    >>> segments, places = jnp.zeros((2, 3), int), jnp.array([[0], [1]])
    >>> print(weighting.fixed_length(mask, segments, places, max_completion_length=5))
    [[0.1 0.1 0.1]
     [0.1 0.  0. ]]

  Source: Liu et al. 2025, arXiv 2503.20783, section 3.2.
  Differs from the source: B counts samples with at least one loss token.
  Fidelity: faithful
  """
  return seq_mean_token_sum(action_mask, segment_ids, sample_ids) / max_completion_length
