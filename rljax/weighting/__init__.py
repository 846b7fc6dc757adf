"""Aggregation as arrays of weights: loss = Σ weights · loss, over one optimizer step.

Every function takes the arrays of one minibatch (token arrays with any leading dimensions,
`sample_ids` with the same ones and S, sample arrays [N] of the whole iteration) and counts a token
where `action_mask`. Weights are computed for the minibatch before it is cut, so micro-batches,
devices and packing simply add up.

Weights are [..., T] for losses of tokens, [..., S] for losses of samples and groups. `action_mask`
is what selections and corrections leave in the denominator; the caller then multiplies the weights
by what they keep, so a rejected token that stays in the denominator is a zero in the average.
"""

from rljax.weighting.apart import apart
from rljax.weighting.attention import attention_mean
from rljax.weighting.prompts import prompt_mean
from rljax.weighting.samples import group_mean, sample_mean
from rljax.weighting.sequences import (
  fixed_length,
  seq_mean_token_mean,
  seq_mean_token_sum,
)
from rljax.weighting.tokens import token_mean, token_sum

__all__ = [
  'apart',
  'attention_mean',
  'fixed_length',
  'group_mean',
  'prompt_mean',
  'sample_mean',
  'seq_mean_token_mean',
  'seq_mean_token_sum',
  'token_mean',
  'token_sum',
]
