"""Kind 'rehearsal': reinforcement beside completions that the policy of the start had drawn."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from rljax.assembly import World
from rljax.prompts import Prompt
from rljax.rewards import Scores
from rljax.rollouts import Experience, single_turn
from rljax.rollouts.measures import prompt_means
from rljax.rollouts.rows import join, take_rows
from rljax.stages.reinforcement import Reinforcement
from rljax.stages.stage import Collected
from rljax.structs import Batch, Rollout, TrainState


class Rehearsal(Reinforcement):
  """Some groups of each iteration come from a pool; the others are sampled.

  The pool is drawn once, before the first update: what was said to prompts that were solved nearly
  always, with the log-probs of then. These prompts are not sampled again. Rows of the pool are
  `is_external`, in groups of their own, and in no metric of the samples; a centre or scale of the
  whole batch sees their rewards.
  """

  def __init__(self, name: str, world: World, draws: int = 0):
    node = world.config[name]
    if not 0 <= node.pool_share < 1 or node.pool_prompts < 1:
      raise ValueError(
        f'{name}: pool_share={node.pool_share}, pool_prompts={node.pool_prompts}; needs 0 ≤ '
        f'pool_share < 1 and pool_prompts ≥ 1'
      )
    if node.extras:
      raise ValueError(f'{name}.extras: completions of the pool have no {", ".join(node.extras)}')
    if world.environment is not None:
      raise ValueError(
        f"{name}: kind='rehearsal' knows no environment: completions of the pool have no turns; "
        f'set config.environment to None, or take the kind rl'
      )
    super().__init__(name, world, draws)
    self._solved: frozenset[int] = frozenset()
    self._pool: Experience | None = None
    self._iteration = 0

  @property
  def prompts(self) -> int:
    return self.node.prompts - self._groups

  @property
  def _groups(self) -> int:
    """Groups of an iteration that come from the pool."""
    found = self._pool is not None and len(self._pool.scores.rewards)
    return round(self.node.pool_share * self.node.prompts) if found else 0

  def next_prompts(self, count: int) -> list[Prompt]:
    if len(self._solved) >= len(self.world.task.train):
      raise ValueError(f'{self.name}: every prompt is solved at the start; raise pool_solved')
    found: list[Prompt] = []
    while len(found) < count:
      further = super().next_prompts(count - len(found))
      found += [p for p in further if p.prompt_id not in self._solved]
    return found

  def _draw_rollout(self, state: TrainState, iteration: int) -> Collected:
    drawn = {}
    if self._pool is None:
      self._pool, drawn = self._draw_pool(state)
    self._iteration = iteration
    collected = super()._draw_rollout(state, iteration)
    told = {
      'method/rehearsal/pool': len(self._pool.scores.rewards),
      'method/rehearsal/rows': self._groups * self.node.samples,
      **{name: collected.metrics[name] + x for name, x in drawn.items()},
    }
    return collected._replace(metrics={**collected.metrics, **told})

  def _draw_pool(self, state: TrainState) -> tuple[Experience, dict[str, int]]:
    """What the present policy says to prompts that it solves nearly always; metrics of its cost."""
    parts, left = [], self.node.pool_prompts
    while left:
      prompts, draw_ids = self.draw(min(left, self.node.prompts))
      params, score = state.params['policy'], self.world.scorer.score
      parts.append(single_turn(params, prompts, draw_ids, self.generate, score, state.step))
      left -= len(prompts)
    drawn = join(parts)
    prompt_ids, means = prompt_means(drawn)
    solved = np.nan_to_num(means, nan=-np.inf) >= self.node.pool_solved
    self._solved = frozenset(i for i, there in zip(prompt_ids, solved) if there)
    used = np.flatnonzero(drawn.rollout.group_ids >= 0)
    kept = np.isin(drawn.rollout.prompt_ids[used], list(self._solved))
    kept &= np.isfinite(drawn.scores.rewards)
    print(
      f'{self.name}: {len(self._solved)} of {len(prompt_ids)} prompts of the pool are solved, '
      f'{kept.sum()} completions to rehearse',
      flush=True,
    )
    cost = {
      'rollout/samples': len(used),
      'rollout/tokens': int(drawn.rollout.action_mask[used].sum()),
    }
    return _experience(_rows(drawn.rollout, used[kept]), drawn.scores.rewards[kept]), cost

  def pack(self, experience: Experience, **extras: np.ndarray) -> tuple[Batch, float]:
    self.curriculum.update(*prompt_means(experience))
    own, parts = len(experience.rollout.group_ids), [experience]
    if count := self._groups * self.node.samples:
      size = len(self._pool.scores.rewards)
      seed = [self.world.config.seed, self.world.config.stages.index(self.name), self._iteration]
      rows = np.random.default_rng(seed).choice(size, count, replace=size < count)
      groups = np.arange(count) // self.node.samples
      rollout = _rows(self._pool.rollout, rows, groups)
      parts.append(_experience(rollout, self._pool.scores.rewards[rows]))
    joint = join(parts)
    used = np.flatnonzero(joint.rollout.group_ids >= 0)  # the sampler leaves rows empty
    rollout = _rows(joint.rollout, used, joint.rollout.group_ids[used])
    joint = dataclasses.replace(joint, rollout=rollout)
    return self.packed(joint, is_external=used >= own, **extras)

  def state_dict(self) -> dict[str, Any]:
    pool = None
    if self._pool is not None:
      rollout = self._pool.rollout
      arrays = {f.name: getattr(rollout, f.name) for f in dataclasses.fields(rollout)}
      pool = {'rollout': arrays, 'rewards': self._pool.scores.rewards}
    return {**super().state_dict(), 'pool': pool, 'solved': sorted(self._solved)}

  def load_state_dict(self, state: dict[str, Any]) -> None:
    super().load_state_dict(state)
    self._solved = frozenset(state['solved'])
    if state['pool'] is not None:
      self._pool = _experience(Rollout(**state['pool']['rollout']), state['pool']['rewards'])


def _rows(rollout: Rollout, rows: np.ndarray, groups: np.ndarray | None = None) -> Rollout:
  groups = np.zeros(len(rows), np.int32) if groups is None else groups
  return take_rows(rollout, rows, groups)


def _experience(rollout: Rollout, rewards: np.ndarray) -> Experience:
  """Rows of the pool; their texts are not kept."""
  return Experience(rollout, [], Scores(rewards, {}, 0, 0, {}))
