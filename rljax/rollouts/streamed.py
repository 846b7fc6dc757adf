"""Samples are scored while others are drawn; a rollout may end when enough groups are complete."""

from __future__ import annotations

import concurrent.futures
import math
from collections.abc import Callable, Sequence

import jax
import numpy as np

from rljax.prompts import Completion, Prompt
from rljax.rewards import Scores
from rljax.rollouts.generate import Generator
from rljax.rollouts.rows import join_scores
from rljax.rollouts.single_turn import Experience
from rljax.structs import PyTree, Rollout


def streamed(
  params: PyTree,
  prompts: Sequence[Prompt],
  draw_ids: Sequence[int],
  generate: Generator,
  score: Callable[[Sequence[Completion]], Scores],
  policy_step: jax.Array | int = 0,
  *,
  num_windows: int = 8,
  enough: float = 1.0,
) -> Experience:
  """`single_turn`, with rewards computed while the sampler goes on.

  A group is scored when its last sample has ended. With enough < 1 the rollout stops when this
  share of the groups is complete: the slowest groups are not handed on, which favors short
  completions.

  Args:
    params: of the policy, on the device; may be futures of an update in flight.
    prompts: at most `generate.prompts`, tokenized.
    draw_ids: run-wide number of the draw of each prompt.
    generate: the sampler; with fewer slots than samples the first groups end early.
    score: completions → scores; called from another thread, one group at a time.
    policy_step: optimizer step of `params`.
    num_windows: windows of the sampler between two looks at which samples have ended.
    enough: share of the groups to wait for, in (0, 1].

  Returns:
    The samples of the groups that are complete, with their scores.

  Raises:
    ValueError: `enough` is not in (0, 1], or there is an environment.

  Examples:
    >>> import rljax
    >>> config = rljax.load_config('presets/grpo_on_policy')
    >>> config.rl.rollout = dict(name='rollouts.streamed', num_windows=4, enough=0.9)
    >>> for name, value in rljax.config.resolve(config).rl.rollout.items():
    ...   print(name, '=', repr(value))
    enough = 0.9
    name = 'rollouts.streamed'
    num_windows = 4
  """
  if generate.environment is not None:
    raise ValueError('streamed: an environment answers turns in rollouts.single_turn')
  if not 0 < enough <= 1:
    raise ValueError(f'streamed: enough={enough} is not in (0, 1]')
  requests = generate.requests(prompts, draw_ids, policy_step=policy_step)
  wanted = math.ceil(enough * len(prompts))
  group_ids = np.asarray(requests.group_ids)
  missing = np.bincount(group_ids[group_ids >= 0], minlength=len(prompts))
  rollout, scores = None, {}
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    for rows, some in generate.stream(params, requests, num_windows):
      rollout = _with_rows(rollout, rows, some, len(group_ids))
      np.subtract.at(missing, some.group_ids, 1)
      for group in np.unique(some.group_ids[missing[some.group_ids] == 0]):
        own = jax.tree.map(lambda x, g=group: x[group_ids == g], rollout)
        scores[int(group)] = pool.submit(score, generate.completions(own, prompts))
      if len(scores) >= wanted:
        break
  complete = sorted(scores)
  kept = np.isin(group_ids, complete)
  rollout = rollout.replace(group_ids=np.where(kept, group_ids, -1).astype(np.int32))
  return Experience(
    rollout,
    generate.completions(rollout, prompts),
    join_scores([scores[group].result() for group in complete]),
    metrics={'rollout/unfinished_groups': len(prompts) - len(complete)},
  )


def _with_rows(rollout: Rollout | None, rows: np.ndarray, some: Rollout, count: int) -> Rollout:
  """A rollout of `count` rows, of which some are new."""
  if rollout is None:
    rollout = jax.tree.map(lambda x: np.zeros((count, *x.shape[1:]), x.dtype), some)
    rollout = rollout.replace(group_ids=rollout.group_ids - 1, temperature=rollout.temperature + 1)
  for whole, part in zip(jax.tree.leaves(rollout), jax.tree.leaves(some)):
    whole[rows] = part
  return rollout
