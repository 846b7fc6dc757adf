"""As many groups of a minibatch on every host: those that are too many move, with their tokens."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from rljax import hosts
from rljax.shares import Shares


def level(
  owners: np.ndarray, group_ids: np.ndarray, minibatch: np.ndarray, shares: int
) -> np.ndarray:
  """int [N]: the share of each sample, such that none has more groups of a minibatch than it must.

  Args:
    owners: int [N], the share that drew the sample.
    group_ids: int [N], −1 = unused.
    minibatch: int [N].
    shares: number of shares.
  """
  owners = np.array(owners)
  for which in np.unique(minibatch[group_ids >= 0]):
    here = (minibatch == which) & (group_ids >= 0)
    groups, first = np.unique(group_ids[here], return_index=True)
    own = owners[here][first]
    load, room = np.bincount(own, minlength=shares), -(-len(groups) // shares)
    for group, share in zip(groups, own):
      if load[share] > room:
        other = int(np.argmin(load))
        owners[here & (group_ids == group)] = other
        load[share], load[other] = load[share] - 1, load[other] + 1
  return owners


def move(tree: Any, before: np.ndarray, after: np.ndarray, shares: Shares) -> Any:
  """Arrays in which the rows whose share has changed are known to their new one.

  Args:
    tree: numpy arrays [N, …]; of those of tokens each process knows the rows of its own share.
    before, after: int [N], the share of each row.
    shares: of the processes.
  """
  rows = np.flatnonzero(before != after)
  if not len(rows):
    return tree
  leaves, structure = jax.tree.flatten(tree)
  given = rows[(before[rows] == shares.own) & shares.leads]
  tokens = {str(i): x[given] for i, x in enumerate(leaves) if x.ndim > 1}
  taken = after == shares.own
  for part in hosts.exchange({**tokens, 'rows': given}, 'groups that move'):
    mine = taken[part['rows']]
    for i in map(int, tokens):
      leaves[i] = np.array(leaves[i])
      leaves[i][part['rows'][mine]] = part[str(i)][mine]
  return jax.tree.unflatten(structure, leaves)
