"""Samples of several calls of the sampler put together, and some of them taken out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from rljax.rewards import Scores
from rljax.rollouts.single_turn import Experience
from rljax.structs import PyTree, Rollout


def take_rows(rollout: Rollout, rows: np.ndarray, group_ids: np.ndarray) -> Rollout:
  """The rows of a rollout (numpy) that `rows` names, under new group ids.

  Args:
    rollout: numpy arrays.
    rows: int [N'].
    group_ids: int [N']; −1 = the row is left empty, whatever `rows` says.
  """
  taken, used = _take(rollout, rows, group_ids), group_ids >= 0
  return taken.replace(
    group_ids=group_ids.astype(np.int32),
    prompt_ids=np.where(used, taken.prompt_ids, -1).astype(np.int32),
    temperature=np.where(used, taken.temperature, 1).astype(np.float32),
  )


def _take(arrays: PyTree, rows: np.ndarray, group_ids: np.ndarray) -> PyTree:
  """Rows of arrays; 0 in those of group −1."""

  def take(x):
    x = np.asarray(x)[rows]
    used = (group_ids >= 0).reshape(-1, *(1,) * (x.ndim - 1))
    return np.where(used, x, np.zeros((), x.dtype))

  return jax.tree.map(take, arrays)


def no_routing(rollout: Rollout, like: Rollout) -> np.ndarray | None:
  """`Rollout.routing` of a rollout whose tokens were not sampled as they stand: all unknown."""
  if like.routing is None:
    return None
  return np.full((*rollout.tokens.shape, *like.routing.shape[2:]), -1, like.routing.dtype)


def select(experience: Experience, used: np.ndarray, group_ids: np.ndarray) -> Experience:
  """An experience of some of the rows of another; metrics are left out.

  Args:
    experience: that is taken from.
    used: int, rows of the other rollout for the used rows of the new one, in their order.
    group_ids: int [N'] of the new rollout, −1 = unused; as many others as `used`.
  """
  rows = np.zeros(len(group_ids), np.int64)
  rows[group_ids >= 0] = used
  place = np.cumsum(experience.rollout.group_ids >= 0) - 1  # among the used rows
  which, scores = place[used], experience.scores
  return Experience(
    take_rows(experience.rollout, rows, group_ids),
    [experience.completions[i] for i in which],
    take_scores(scores, which),
    _take(experience.extras, rows, group_ids),
  )


def join(parts: Sequence[Experience]) -> Experience:
  """All rows of several experiences, their groups numbered on; metrics are left out."""
  rollouts, first = [], 0
  for part in parts:
    groups = part.rollout.group_ids
    moved = np.where(groups >= 0, groups + first, -1).astype(np.int32)
    rollouts.append(part.rollout.replace(group_ids=moved))
    first += int(groups.max(initial=-1)) + 1
  return Experience(
    jax.tree.map(lambda *x: np.concatenate(x), *rollouts),
    [c for part in parts for c in part.completions],
    join_scores([part.scores for part in parts]),
    jax.tree.map(lambda *x: np.concatenate(x), *(part.extras for part in parts)),
  )


def take_scores(scores: Scores, which: Sequence[int]) -> Scores:
  """The scores of some completions; what went wrong is counted as before."""
  return dataclasses.replace(
    scores,
    rewards=scores.rewards[which],
    components={name: x[which] for name, x in scores.components.items()},
  )


def join_scores(scores: Sequence[Scores]) -> Scores:
  """The scores of several calls, one after the other."""
  names = dict.fromkeys(name for s in scores for name in s.components)
  messages: dict[str, int] = {}
  for s in scores:
    for message, count in s.messages.items():
      messages[message] = messages.get(message, 0) + count

  def component(name):
    missing = [np.full(len(s.rewards), np.nan, np.float32) for s in scores]
    return np.concatenate([s.components.get(name, x) for s, x in zip(scores, missing)])

  return Scores(
    np.concatenate([s.rewards for s in scores]),
    {name: component(name) for name in names},
    sum(s.errors for s in scores),
    sum(s.timeouts for s in scores),
    messages,
  )
