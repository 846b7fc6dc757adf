"""Kinds 'preference' and 'reward_model': completions of a prompt that the task ranks."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from rljax import update
from rljax.assembly import World
from rljax.data.demonstrations import as_rollout
from rljax.data.packing import pack
from rljax.prompts import Prompt
from rljax.stages.stage import Collected, Stage, make_stage_layout
from rljax.structs import Batch, PyTree

LABELS = ('utility', 'sign')
HELD_OUT_DRAW = 0  # of the candidates of held-out prompts


class Given(Stage):
  """Learns from completions that the task gives; measured on those of its held-out prompts."""

  def __init__(self, name: str, world: World, draws: int = 0, *, group_size: int):
    node = world.config[name]
    layout = make_stage_layout(
      node,
      shares=world.shares,
      samples=node.prompts * group_size,
      group_size=group_size,
      max_length=node.max_length,
    )
    super().__init__(name, world, layout=layout, draws=draws)
    self._measure: Any = None

  def batch_of(self, prompts: list[Prompt], draws: list[int]) -> tuple[Batch, dict[str, Any]]:
    """The packed samples of prompts, and metrics of them."""
    raise NotImplementedError

  def collect(self, state: Any, iteration: int) -> Collected:
    prompts = self.next_prompts(self.node.prompts)
    draws = [self.draws + i for i in range(len(prompts))]
    self.draws += len(prompts)
    batch, metrics = self.batch_of(prompts, draws)
    return Collected(self.place(batch), metrics, [])

  def rename(self, metrics: dict[str, Any]) -> dict[str, Any]:
    own = f'method/{self.objective.loss.name}/'
    named = {f'{self.name}/loss': metrics['policy/loss']}
    for what in ('accuracy', 'margin'):
      if own + what in metrics:
        named[f'{self.name}/{what}'] = metrics[own + what]
    others = {k: v for k, v in metrics.items() if not k.startswith(('policy/', 'rollout/mismatch'))}
    return named | {k: v for k, v in others.items() if k not in (own + 'accuracy', own + 'margin')}

  def evaluate(self, params: dict[str, PyTree], frozen: dict[str, PyTree]) -> dict[str, float]:
    """The loss's own accuracy and margin on the candidates of held-out prompts."""
    if self._measure is None:
      self._measure = jax.jit(
        update.make_measure(
          self.objective, self.world.policies, chunk_size=self.node.chunk_size
        )
      )
    size = self.node.prompts
    count = min(self.world.config.evaluation.num_prompts, len(self.world.task.test)) // size * size
    if not count:
      raise ValueError(f'{self.name}: there are fewer held-out prompts than prompts={size}')
    test = self.tokenized(self.world.task.test[:count])
    memory, seen = self.objective.first_state(), []
    trained = {role: params[role] for role in self.optimizers}
    for first in range(0, count, size):
      batch, _ = self.batch_of(test[first : first + size], [HELD_OUT_DRAW] * size)
      arguments = (trained, frozen, self.place(batch), self.hyper(0), memory)
      seen.append(self.rename(jax.device_get(self._measure(*arguments))))
    names = [f'{self.name}/{what}' for what in ('accuracy', 'margin')]
    return {n.split('/')[1]: float(np.mean([s[n] for s in seen])) for n in names if n in seen[0]}


class Ranked(Given):
  """Kind 'preference': groups of completions of known order train the policy."""

  makes = ('is_mismatched',)

  def __init__(self, name: str, world: World, draws: int = 0):
    node = world.config[name]
    if world.task.candidates is None:
      raise ValueError(f'stage {name!r} needs candidates, and task {world.task.name} has none')
    if node.labels not in LABELS:
      raise ValueError(f'{name}.labels is {node.labels!r}; it is one of {str(LABELS)[1:-1]}')
    size = node.candidates + node.get('mismatched', False)
    super().__init__(name, world, draws, group_size=size)

  def batch_of(self, prompts: list[Prompt], draws: list[int]) -> tuple[Batch, dict[str, Any]]:
    texts, rewards, groups, mismatched = [], [], [], []
    for number, (prompt, draw) in enumerate(zip(prompts, draws)):
      found = self.world.task.candidates(prompt, draw)[: self.node.candidates]
      utilities = np.array([utility for _, utility in found], np.float32)
      if len(found) < self.node.candidates or np.ptp(utilities) == 0:
        raise ValueError(
          f'{self.name}: task {self.world.task.name} gives {len(found)} candidates of utilities '
          f'{utilities.tolist()} for prompt {prompt.prompt_id}; {self.node.candidates} that are '
          f'not all equal are needed'
        )
      if self.node.labels == 'sign':
        utilities = np.where(utilities == utilities.max(), 1, -1)
      texts += [text for text, _ in found]
      rewards += utilities.tolist()
      groups += [number] * len(found)
      mismatched += [False] * len(found)
    if self.node.get('mismatched', False):
      # The first candidate of the next prompt: what the policy says where it does not belong.
      firsts = texts[:: self.node.candidates]
      texts += firsts[1:] + firsts[:1]
      rewards += [0.0] * len(prompts)
      groups += range(len(prompts))
      mismatched += [True] * len(prompts)
    owners = [prompts[g] for g in groups]
    rollout = as_rollout(
      [p.tokens for p in owners],
      [self.completion_tokens(text) for text in texts],
      length=self.node.max_length,
      prompt_ids=[p.prompt_id for p in owners],
    ).replace(group_ids=np.array(groups, np.int32))
    batch, capacity = pack(
      rollout,
      np.array(rewards, np.float32),
      self.layout,
      extras={'is_mismatched': np.array(mismatched)},
    )
    counts = {'rollout/capacity': capacity, 'rollout/tokens': int(rollout.num_tokens.sum())}
    return batch, {**counts, **self.shared(batch)}

  def evaluate(self, params: dict[str, PyTree], frozen: dict[str, PyTree]) -> dict[str, float]:
    return {**Stage.evaluate(self, params, frozen), **super().evaluate(params, frozen)}


class RewardModel(Ranked):
  """Kind 'reward_model': the same completions train the role 'reward', a model with a head."""

  role = 'reward'

  def start_params(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
    return {'reward': self.world.reward_start(params)}

  def evaluate(self, params: dict[str, PyTree], frozen: dict[str, PyTree]) -> dict[str, float]:
    return Given.evaluate(self, params, frozen)
