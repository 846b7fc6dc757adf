"""The only masked and grouped reductions that anyone writes.

Masked values never reach a result: they are replaced before the arithmetic, so NaN and inf under a
mask are harmless in values and gradients. All sums are in at least float32.

Group reductions compare `group_ids` with themselves, a block of samples against all at a time
(nothing of size N² is stored). They take ragged groups in any order, need no group size, use no
scatter, forward or backward, and every member of a group gets bit-equal statistics.
"""

from rljax.masking.groups import (
  group_count,
  group_is_constant,
  group_max,
  group_mean,
  group_min,
  group_rank,
  group_sum,
  group_var,
)
from rljax.masking.reductions import (
  is_constant,
  masked_max,
  masked_mean,
  masked_min,
  masked_sum,
  masked_var,
  shield,
  weighted_sum,
  widen,
  zero_where_not,
)
from rljax.masking.rows import (
  last_true_in_segment,
  one_hot_segments,
  reverse_segment_scan,
  sample_to_segment,
  sample_to_token,
  segment_sum,
  segment_to_sample,
  segment_to_sample_here,
  segment_to_token,
  shift,
  starts,
  token_to_sample_sum,
)

__all__ = [
  'group_count',
  'group_is_constant',
  'group_max',
  'group_mean',
  'group_min',
  'group_rank',
  'group_sum',
  'group_var',
  'is_constant',
  'last_true_in_segment',
  'masked_max',
  'masked_mean',
  'masked_min',
  'masked_sum',
  'masked_var',
  'one_hot_segments',
  'reverse_segment_scan',
  'sample_to_segment',
  'sample_to_token',
  'segment_sum',
  'segment_to_sample',
  'segment_to_sample_here',
  'segment_to_token',
  'shield',
  'shift',
  'starts',
  'token_to_sample_sum',
  'weighted_sum',
  'widen',
  'zero_where_not',
]
