"""Kind 'interleaved': RL, and from time to time a supervised step on what it cannot solve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rljax import objective, sharding, update
from rljax.assembly import World
from rljax.data.demonstrations import as_rollout
from rljax.data.packing import make_layout, pack
from rljax.prompts import Completion, Prompt
from rljax.rollouts import Experience
from rljax.rollouts.given import first_solutions
from rljax.rollouts.measures import prompt_means
from rljax.stages.reinforcement import Reinforcement
from rljax.stages.stage import Collected
from rljax.structs import Batch, PyTree, TrainState

TUNING = ('loss', 'weights')  # of the supervised step, the only functions that it has


class Interleaved(Reinforcement):
  """Prompts whose group's mean reward is at most `hard_accuracy` wait in a buffer.

  When `buffer` of them are there, the next iteration is `tuning.minibatches` supervised steps on
  their completions by `sources`, in place of samples; then RL goes on. Both are compiled updates of
  one train state, with its parameters, moments and method state.
  """

  asks_sources = True

  def __init__(self, name: str, world: World, draws: int = 0):
    super().__init__(name, world, draws)
    node = self.node
    if not self.sources:
      raise ValueError(
        f'{name} learns from completions that others have written; set {name}.sources to '
        f"dict(task=dict(name='rollouts.sources.demonstrations'))"
      )
    if node.buffer < node.tuning.minibatches:
      raise ValueError(
        f'{name}.buffer holds {node.buffer} prompts, too few for {name}.tuning.minibatches='
        f'{node.tuning.minibatches}'
      )
    functions = {key: node.tuning[key] for key in TUNING}
    self.tuning_objective = objective.build({**functions, 'minibatches': node.tuning.minibatches})
    self.tuning_layout = make_layout(
      **{key: node[key] for key in ('rows', 'row_length', 'packed', 'share_prompts')},
      shares=world.shares,
      samples=node.buffer,
      group_size=1,
      max_length=self.generate.max_length,
      minibatches=node.tuning.minibatches,
    )
    self.hard: list[int] = []
    self.is_tuning = False
    self._missing = 0

  @property
  def learns_from_reward(self) -> bool:
    return not self.is_tuning

  def init(self, params: dict[str, PyTree], key: jax.Array) -> TrainState:
    state = super().init(params, key)
    step = update.make_update_step(
      self.tuning_objective,
      self.world.policies,
      self.optimizers,
      chunk_size=self.node.chunk_size,
    )
    shardings = sharding.state_shardings(state, self.world.mesh)
    reinforce = self.update
    tune = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
    self.update = lambda *given: (tune if self.is_tuning else reinforce)(*given)
    return state

  def hyper(self, iteration: int) -> dict[str, Any]:
    found = super().hyper(iteration)
    if self.is_tuning:
      return {**self.tuning_objective.hyper(iteration), 'optimizer': found['optimizer']}
    return found

  def collect(self, state: TrainState, iteration: int) -> Collected:
    self.is_tuning = len(self.hard) >= self.node.buffer
    if not self.is_tuning:
      found = super().collect(state, iteration)
      own = {'waiting': len(self.hard), 'missing': self._missing}
      own = {f'method/{self.name}/{key}': x for key, x in own.items()}
      return found._replace(metrics={**found.metrics, **own})
    ids, self.hard = self.hard[: self.node.buffer], self.hard[self.node.buffer :]
    given = self._solutions(ids)
    rollout = as_rollout(
      [c.prompt.tokens for c in given],
      [c.tokens for c in given],
      length=self.generate.max_length,
      prompt_ids=[c.prompt.prompt_id for c in given],
    )
    batch, capacity = pack(
      rollout,
      np.zeros(len(given), np.float32),
      self.tuning_layout,
      extras={'is_external': np.ones(len(given), bool)},
    )
    metrics = {
      'rollout/tokens': 0,  # the policy draws none
      'rollout/samples': 0,
      'rollout/external': len(given),
      'rollout/capacity': capacity,
    }
    return Collected(self.place(batch), metrics, [])

  def watch(self, metrics: Mapping[str, Any]) -> None:
    if not self.is_tuning:  # supervised steps have neither reward nor KL
      super().watch(metrics)

  def pack(self, experience: Experience, **extras: np.ndarray) -> tuple[Batch, float]:
    """Puts the hard prompts into the buffer, each once, if there is a solution to learn from."""
    ids, means = prompt_means(experience)
    hard = [i for i, mean in zip(ids, means) if mean <= self.node.hard_accuracy]
    new = [i for i in dict.fromkeys(hard) if i not in self.hard]
    solved = [c.prompt.prompt_id for c in self._solutions(new)]
    self.hard += solved
    self._missing = len(new) - len(solved)
    return super().pack(experience, **extras)

  def _solutions(self, prompt_ids: list[int]) -> list[Completion]:
    """The prompts' completions by others, of those that have one that fits."""
    prompts = self.tokenized([self._prompt(i) for i in prompt_ids])
    found = first_solutions(prompts, prompt_ids, self.sources, self.generate)
    return [c for c in found if c is not None]

  def _prompt(self, prompt_id: int) -> Prompt:
    """The training prompt of this number; only a mixture of tasks has others in its place."""
    train = self.world.task.train
    if prompt_id < len(train) and train[prompt_id].prompt_id == prompt_id:
      return train[prompt_id]
    return next(prompt for prompt in train if prompt.prompt_id == prompt_id)

  def rename(self, metrics: dict[str, Any]) -> dict[str, Any]:
    if not self.is_tuning:
      return super().rename(metrics)
    kept = {k: v for k, v in metrics.items() if k.startswith('update/')}
    return {f'method/{self.name}/tuning_loss': metrics['policy/loss'], **kept}

  def state_dict(self) -> dict[str, Any]:
    return {**super().state_dict(), 'hard': self.hard}

  def load_state_dict(self, state: dict[str, Any]) -> None:
    super().load_state_dict(state)
    self.hard = list(state['hard'])
