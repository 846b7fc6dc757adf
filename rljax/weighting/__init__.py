"""Aggregation as arrays of weights: loss = Σ weights · token loss, over one optimizer step.

Every function takes the arrays of one minibatch (token arrays with any leading dimensions, and
`sample_ids` with the same ones and S) and counts a token where `action_mask`. Weights are computed
for the whole minibatch before it is cut, so micro-batches, devices and packing simply add up.
"""

from rljax.weighting.token_mean import token_mean, token_sum

__all__ = ['token_mean', 'token_sum']
