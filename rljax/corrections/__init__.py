"""Sampler against trainer: weights for the mismatch of their log-probs, and metrics of it.

A correction sees the tokens of one minibatch and returns (weight ≥ 0 of the policy loss, tokens
that stay in its denominator), both [..., T] and constant. With w = π_old/π_μ all bounds are on w
itself. Where the update takes the sampler's log-probs as the old ones there is nothing to correct.
"""

from rljax.corrections.mask import geometric_mask, sequence_mask, token_mask
from rljax.corrections.mismatch import mismatch_metrics
from rljax.corrections.normalize import self_normalize
from rljax.corrections.rejection import divergence_rejection
from rljax.corrections.truncate import sequence_truncate, token_truncate

__all__ = [
  'divergence_rejection',
  'geometric_mask',
  'mismatch_metrics',
  'self_normalize',
  'sequence_mask',
  'sequence_truncate',
  'token_mask',
  'token_truncate',
]
