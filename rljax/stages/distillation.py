"""Kind 'distill': a teacher's distribution on samples of the student, or of the teacher."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from rljax.assembly import World
from rljax.rollouts import Experience, Generator
from rljax.stages.reinforcement import Reinforcement
from rljax.structs import Batch, PyTree, TrainState


class Distillation(Reinforcement):
  """Each iteration samples from the student with probability `on_policy_fraction`, or the teacher.

  Rewards are measured and, unless an advantage asks for them, not learnt from.
  """

  learns_from_reward = False

  def __init__(self, name: str, world: World, draws: int = 0):
    teacher = world.config[name].teacher
    if not teacher or not teacher.get('path'):
      raise ValueError(
        f'stage {name!r} needs a teacher; --config.{name}.teacher.path=<work directory of a run> '
        f'says where it is'
      )
    super().__init__(name, world, draws)
    terms = self.objective
    if self.node.replay_routing and self.node.on_policy_fraction < 1:
      raise ValueError(
        f"{name}.replay_routing is True, and some samples are the teacher's: what it asks its "
        f'experts says nothing of the student; set {name}.on_policy_fraction to 1'
      )
    if self.node.on_policy_fraction < 1 and not terms.bypass and 'old_logprobs' in terms.late:
      raise ValueError(
        f'{name}: its functions look at ratios to the policy that drew the tokens, which is now '
        f"and then the teacher; set {name}.old_logprobs to 'sampler', or on_policy_fraction to 1"
      )

  def sampler(self, state: TrainState, iteration: int) -> tuple[PyTree, Generator]:
    if self._is_on_policy(iteration):
      return super().sampler(state, iteration)
    teacher = dataclasses.replace(self.generate, program=self.world.programs['teacher'])
    return self.world.frozen['teacher'], teacher

  def pack(self, experience: Experience, **extras: np.ndarray) -> tuple[Batch, float]:
    external = np.full(len(experience.rollout.group_ids), self._external)
    external |= np.asarray(experience.extras.get('is_external', False), bool)
    return super().pack(experience, is_external=external, **extras)

  def _is_on_policy(self, iteration: int) -> bool:
    key = jax.random.fold_in(jax.random.key(self.world.config.seed), iteration)
    on_policy = float(jax.random.uniform(key)) < self.node.on_policy_fraction
    self._external = not on_policy
    return on_policy

  def rename(self, metrics):
    loss = {f'{self.name}/loss': metrics['policy/loss']}
    return {**loss, **{k: v for k, v in metrics.items() if k != 'policy/loss'}}
