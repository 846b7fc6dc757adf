"""The policy's own samples and external ones, each with an average of their own."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.weighting.sequences import fixed_length, seq_mean_token_mean
from rljax.weighting.tokens import token_mean

Array = jax.Array

AVERAGES = ('token_mean', 'seq_mean_token_mean', 'fixed_length')


def apart(
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  is_external: Array,
  *,
  own: str = 'token_mean',
  external: str = 'token_mean',
  own_coef: float = 1.0,
  external_coef: float = 1.0,
  max_completion_length: int = 1,
) -> Array:
  """own_coef·w over own tokens, external_coef·w over external ones, w of each kind alone.

  loss = own_coef·mean over own + external_coef·mean over external: neither number thins the other.

  Args:
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    is_external: bool [N], of the whole iteration.
    own, external: 'token_mean', 'seq_mean_token_mean' or 'fixed_length', see there.
    own_coef, external_coef: of the averages.
    max_completion_length: of 'fixed_length', tokens.

  Returns:
    float32 [..., T].

  Raises:
    ValueError: an unknown average.

  Examples:
    >>> # Completions of 3 and 1 tokens
    >>> mask = jnp.array([[True, True, True], [True, False, False]])
    >>> segments, places = jnp.zeros((2, 3), int), jnp.array([[0], [1]])
    >>> external = jnp.array([False, True])
    >>> print(weighting.apart(mask, segments, places, external, external_coef=0.5))
    [[0.3333 0.3333 0.3333]
     [0.5    0.     0.    ]]

  Source: the sum of an on-policy and an off-policy objective, as in Dong et al. 2025,
    arXiv 2508.00222 (RL-PLUS), and of RL and SFT in Zhang et al. 2025, arXiv 2508.11408 (CHORD).
  Differs from the source: which average each part has is open.
  Fidelity: adapted
  """
  outside = masking.sample_to_token(is_external, sample_ids, segment_ids)

  def average(name, mask):
    if name == 'token_mean':
      return token_mean(mask)
    where = (mask, segment_ids, sample_ids)
    if name == 'seq_mean_token_mean':
      return seq_mean_token_mean(*where)
    if name == 'fixed_length':
      return fixed_length(*where, max_completion_length=max_completion_length)
    raise ValueError(f'apart: average {name!r} is not one of {", ".join(AVERAGES)}')

  on, off = average(own, action_mask & ~outside), average(external, action_mask & outside)
  return own_coef * on + jnp.where(outside, external_coef * off, 0)
