"""The shapes of a `Batch`: functions of the config alone."""

from __future__ import annotations

import dataclasses

from rljax.shares import ALONE, Shares


class CapacityError(ValueError):
  """The samples of an iteration do not fit the layout."""


@dataclasses.dataclass(frozen=True)
class Layout:
  """The shapes of a `Batch`.

  Attributes:
    minibatches: K, optimizer steps of one epoch.
    micro_batches: M, capacity of a minibatch in micro-batches.
    rows: r, rows of one micro-batch; a multiple of the devices that share the rows.
    row_length: T, slots of a row.
    samples_per_row: S, segments of a row: samples, and prompts that several of them share.
    samples: N, capacity of the sample arrays.
    whole_groups: a group stays in one micro-batch: for losses that compare its samples.
    share_prompts: a prompt stands in a row once, followed by the completions of its samples.
    shares: which rows each process fills.
  """

  minibatches: int
  micro_batches: int
  rows: int
  row_length: int
  samples_per_row: int
  samples: int
  whole_groups: bool = False
  share_prompts: bool = False
  shares: Shares = ALONE

  @property
  def own_rows(self) -> int:
    """Rows of a micro-batch that one share holds."""
    return self.rows // len(self.shares)

  @property
  def most_samples(self) -> int:
    """Samples of a row: each may have a prompt beside it."""
    return self.samples_per_row // 2 if self.share_prompts else self.samples_per_row


def make_layout(
  *,
  samples: int,
  group_size: int,
  max_length: int,
  minibatches: int = 1,
  rows: int = 8,
  row_length: int = 0,
  packed: bool = True,
  whole_groups: bool = False,
  share_prompts: bool = False,
  shares: Shares = ALONE,
) -> Layout:
  """The layout that holds `samples` samples of at most `max_length` tokens, whatever their lengths.

  Args:
    samples: N.
    group_size: samples of one prompt; a group stays in one minibatch.
    max_length: tokens of the longest possible sample, prompt and completion.
    minibatches: K.
    rows: r.
    row_length: T; 0 = the smallest multiple of 128 that holds one maximal sample.
    packed: several samples a row; False = one.
    whole_groups, share_prompts: see `Layout`; without packing there is nothing to share.
    shares: see `Layout`; each gets as many groups of a minibatch as the others, or one more.

  Raises:
    ValueError: a sample does not fit into a row, a group not into a micro-batch, or there are fewer
      groups than minibatches.
  """
  length = row_length or -(-max_length // 128) * 128
  if length < max_length:
    raise ValueError(
      f'row_length is {row_length} tokens, but a sample may have {max_length} '
      f'(max_prompt + max_new_tokens)'
    )
  groups = samples // group_size
  if groups < minibatches:
    raise ValueError(f'{groups} groups cannot be cut into {minibatches} minibatches')
  per_row = max(1, min(length // 4, 32)) if packed else 1
  share_prompts = share_prompts and packed
  sure = min(per_row, length // max_length)
  of_step = -(-groups // minibatches)
  most = -(-of_step // len(shares))
  own = rows // len(shares)
  if whole_groups and sure * own < group_size:
    raise ValueError(
      f'a group of {group_size} samples must stand in one micro-batch, and {own} rows of {length} '
      f'tokens hold {sure * own} of the longest; raise rows or row_length'
    )
  fit = sure * own // group_size if whole_groups else sure * own
  return Layout(
    minibatches=minibatches,
    micro_batches=-(-(most if whole_groups else most * group_size) // fit),
    rows=rows,
    row_length=length,
    samples_per_row=2 * per_row if share_prompts else per_row,
    samples=samples,
    whole_groups=whole_groups,
    share_prompts=share_prompts,
    shares=shares,
  )
