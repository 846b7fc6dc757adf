"""Which sample stands in which minibatch and row."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np

from rljax.data.layout import CapacityError, Layout


class Samples(NamedTuple):
  """What packing has to know of samples.

  Attributes:
    lengths: int [N], tokens.
    group_ids: int [N].
    prompts: int [N], which prompt begins the sample; −1 = one that it shares with no other.
    shared: int [N], tokens of that prompt that need stand in a row but once.
  """

  lengths: np.ndarray
  group_ids: np.ndarray
  prompts: np.ndarray
  shared: np.ndarray

  def take(self, members: np.ndarray) -> Samples:
    """Some of them."""
    return Samples(*(x[members] for x in self))


class _Rows:
  """Rows that fill up: at most `most` of them."""

  def __init__(self, samples: Samples, layout: Layout, most: int):
    self.members: list[list[int]] = []
    self._samples, self._layout, self._most = samples, layout, most
    self._space: list[int] = []
    self._prompts: list[set[int]] = []
    self._open_from = 0  # rows before this one are full

  def copy(self) -> _Rows:
    other = copy.copy(self)
    other.members, other._prompts = [[*x] for x in self.members], [{*x} for x in self._prompts]
    other._space = [*self._space]
    return other

  def add(self, index: int) -> bool:
    """Puts a sample where its prompt stands, else into the first row with room; False if none."""
    rows = range(self._open_from, len(self.members))
    prompt = int(self._samples.prompts[index])
    with_prompt = [row for row in rows if prompt in self._prompts[row]] if prompt >= 0 else []
    for row in (*with_prompt, *rows):
      if self._space[row] >= self._need(row, index) and not self._is_full(row):
        break
    else:
      row = len(self.members)
      if row == self._most:
        return False
      self.members.append([])
      self._space.append(self._layout.row_length)
      self._prompts.append(set())
    self._space[row] -= self._need(row, index)
    self.members[row].append(index)
    self._prompts[row] |= {prompt} - {-1}
    while self._open_from < len(self.members) and (
      not self._space[self._open_from] or self._is_full(self._open_from)
    ):
      self._open_from += 1
    return True

  def _need(self, row: int, index: int) -> int:
    there = int(self._samples.prompts[index]) in self._prompts[row]
    return int(self._samples.lengths[index]) - int(self._samples.shared[index]) * there

  def _is_full(self, row: int) -> bool:
    return len(self.members[row]) == self._layout.most_samples


def first_fit(samples: Samples, layout: Layout) -> list[list[int]]:
  """Sample indices by row, longest first; ties keep their order."""
  rows = _Rows(samples, layout, most=len(samples.lengths))
  for index in np.argsort(-samples.lengths, kind='stable'):
    rows.add(int(index))
  return rows.members


def prompts_first_fit(samples: Samples, layout: Layout) -> list[list[int]]:
  """Sample indices by row, prompt by prompt: those with most tokens first, then longest first."""
  rows = _Rows(samples, layout, most=len(samples.lengths))
  _, prompts = np.unique(
    np.where(samples.prompts >= 0, samples.prompts, -1 - np.arange(len(samples.prompts))),
    return_inverse=True,
  )
  total = np.bincount(prompts, weights=samples.lengths)
  for index in np.lexsort((-samples.lengths, prompts, -total[prompts])):
    rows.add(int(index))
  return rows.members


def fullest_first(samples: Samples, layout: Layout) -> list[list[int]]:
  """Sample indices by row: the longest that is left, and those that fill its row best.

  Of all sets of samples that fit beside the longest, one with most tokens (subset sums). Where too
  many samples would stand in a row, those that fit in turn, longest first.
  """
  rest = [int(i) for i in np.argsort(-samples.lengths, kind='stable')]
  lengths, rows = samples.lengths.tolist(), []
  while rest:
    row = [rest.pop(0)]
    room = layout.row_length - lengths[row[0]]
    sums = [1]  # bit s of entry n: some of the first n add up to s
    for index in rest:
      sums.append((sums[-1] | sums[-1] << lengths[index]) & ((1 << room + 1) - 1))
    left = sums[-1].bit_length() - 1
    for number in reversed(range(len(rest))):
      if not sums[number] >> left & 1:
        row.append(rest[number])
        left -= lengths[rest[number]]
    if len(row) > layout.most_samples:
      row = row[:1]
      for index in rest:
        if lengths[index] <= room and len(row) < layout.most_samples:
          row.append(index)
          room -= lengths[index]
    taken = set(row)
    rest = [index for index in rest if index not in taken]
    rows.append(row)
  return rows


def groups_first_fit(samples: Samples, layout: Layout) -> list[list[int]]:
  """Sample indices by row; the rows of a micro-batch hold whole groups, in order of appearance."""
  found: list[list[int]] = []
  _, first = np.unique(samples.group_ids, return_index=True)
  rows = _Rows(samples, layout, layout.rows)
  for group in samples.group_ids[np.sort(first)]:
    members = np.flatnonzero(samples.group_ids == group)
    before, rows = rows, rows.copy()
    if not all(rows.add(int(i)) for i in members):
      found += before.members + [[]] * (layout.rows - len(before.members))
      rows = _Rows(samples, layout, layout.rows)
      if not all(rows.add(int(i)) for i in members):
        raise CapacityError(
          f'a group of {len(members)} samples does not fit into the {layout.rows} rows of a '
          f'micro-batch (rows)'
        )
  return found + rows.members


def fit(samples: Samples, layout: Layout) -> list[list[int]]:
  """Sample indices of each row of a minibatch: never more rows than first fit needs."""
  if layout.whole_groups:
    return groups_first_fit(samples, layout)
  alone = samples._replace(prompts=np.full_like(samples.prompts, -1))
  rows = first_fit(alone, layout)
  if layout.share_prompts:
    return min(prompts_first_fit(samples, layout), rows, key=len)
  if layout.most_samples == 1:
    return rows
  # Worth its time only where it can save a micro-batch.
  bound = -(-int(samples.lengths.sum()) // layout.row_length)
  if -(-len(rows) // layout.rows) == -(-bound // layout.rows):
    return rows
  return min(rows, fullest_first(samples, layout), key=len)


def minibatch_of_group(group_ids: np.ndarray, minibatches: int) -> np.ndarray:
  """int [N]: groups go to minibatches in order of appearance, in shares that differ by one."""
  used = group_ids >= 0
  _, first, inverse = np.unique(group_ids[used], return_index=True, return_inverse=True)
  order = np.argsort(np.argsort(first))  # rank of each group by its first sample
  out = np.full(len(group_ids), -1)
  out[used] = order[inverse] * minibatches // max(len(first), 1)
  return out
