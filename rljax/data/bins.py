"""Which sample stands in which minibatch and row."""

from __future__ import annotations

import copy

import numpy as np

from rljax.data.layout import CapacityError, Layout


class _Rows:
  """Rows that fill up: first fit, at most `most` rows."""

  def __init__(self, layout: Layout, most: int):
    self.members: list[list[int]] = []
    self._space: list[int] = []
    self._open_from = 0  # rows before this one are full
    self._layout, self._most = layout, most

  def add(self, index: int, need: int) -> bool:
    """Puts a sample of `need` tokens into the first row with room; False if there is none."""
    for row in range(self._open_from, len(self.members)):
      if self._space[row] >= need and not self._is_full(row):
        break
    else:
      row = len(self.members)
      if row == self._most:
        return False
      self.members.append([])
      self._space.append(self._layout.row_length)
    self.members[row].append(index)
    self._space[row] -= need
    while self._open_from < len(self.members) and (
      not self._space[self._open_from] or self._is_full(self._open_from)
    ):
      self._open_from += 1
    return True

  def _is_full(self, row: int) -> bool:
    return len(self.members[row]) == self._layout.samples_per_row


def first_fit(lengths: np.ndarray, layout: Layout) -> list[list[int]]:
  """Sample indices by row, longest first; ties keep their order."""
  rows = _Rows(layout, most=len(lengths))
  for index in np.argsort(-lengths, kind='stable'):
    rows.add(int(index), int(lengths[index]))
  return rows.members


def groups_first_fit(
  lengths: np.ndarray, group_ids: np.ndarray, layout: Layout
) -> list[list[int]]:
  """Sample indices by row; the rows of a micro-batch hold whole groups, in order of appearance."""
  found: list[list[int]] = []
  _, first = np.unique(group_ids, return_index=True)
  rows = _Rows(layout, layout.rows)
  for group in group_ids[np.sort(first)]:
    members = np.flatnonzero(group_ids == group)
    saved = copy.deepcopy(rows)
    if not all(rows.add(int(i), int(lengths[i])) for i in members):
      found += saved.members + [[]] * (layout.rows - len(saved.members))
      rows = _Rows(layout, layout.rows)
      if not all(rows.add(int(i), int(lengths[i])) for i in members):
        raise CapacityError(
          f'a group of {len(members)} samples does not fit into the {layout.rows} rows of a '
          f'micro-batch (rows)'
        )
  return found + rows.members


def fit(lengths: np.ndarray, group_ids: np.ndarray, layout: Layout) -> list[list[int]]:
  """Sample indices of each row of a minibatch."""
  if layout.whole_groups:
    return groups_first_fit(lengths, group_ids, layout)
  return first_fit(lengths, layout)


def minibatch_of_group(group_ids: np.ndarray, minibatches: int) -> np.ndarray:
  """int [N]: groups go to minibatches in order of appearance, in shares that differ by one."""
  used = group_ids >= 0
  _, first, inverse = np.unique(group_ids[used], return_index=True, return_inverse=True)
  order = np.argsort(np.argsort(first))  # rank of each group by its first sample
  out = np.full(len(group_ids), -1)
  out[used] = order[inverse] * minibatches // max(len(first), 1)
  return out
