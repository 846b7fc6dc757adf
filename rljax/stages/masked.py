"""Kind 'masked_rl': reinforcement of a policy that a lagged copy of itself masks."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from rljax import binding, models
from rljax.assembly import World
from rljax.rollouts import Generator, SamplerProgram
from rljax.stages.reinforcement import Reinforcement
from rljax.structs import PyTree, TrainState
from rljax.update import UpdateStep


class MaskedReinforcement(Reinforcement):
  """As 'rl', of `models.masked`: in samples and in log-probs alike.

  The mask is a role of the train state that no gradient moves: every `mask_every` optimizer steps
  it becomes the policy. What is evaluated and handed on is the policy without it.
  """

  def __init__(self, name: str, world: World, draws: int = 0):
    node, plain = world.config[name], world.policies['policy']
    self._check(name, world)
    masked = models.masked(plain, top_p=node.mask_top_p)
    # The update casts role by role, the sampler both at once.
    policies = {**world.policies, 'policy': masked._replace(cast=plain.cast), 'mask': plain}
    super().__init__(name, dataclasses.replace(world, policies=policies), draws)
    self.optimizers['mask'] = binding.bind(dict(name='optimizers.none'))
    program = SamplerProgram(masked, world.mesh)
    self.generate = dataclasses.replace(self.generate, program=program)

  def _check(self, name: str, world: World) -> None:
    node = world.config[name]
    if world.lora is not None:
      raise ValueError(f'{name}: a policy with adapters (config.lora) has no mask')
    if node.mask_every < 1:
      raise ValueError(f'{name}.mask_every is {node.mask_every}; at least one optimizer step')
    if node.sampler.speculate == 'draft':
      raise ValueError(
        f"{name}.sampler.speculate is 'draft', and a masked policy has no draft model; take "
        f"'lookup' or ''"
      )
    if world.config.stages[-1] != name:
      raise ValueError(f'{name} is of kind masked_rl, which only the last stage of a run may be')

  def start_params(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
    # A copy: the update donates both.
    mask = jax.tree.map(lambda x: x.copy(), params['policy'])
    return super().start_params({**params, 'mask': mask})

  def sampler(self, state: TrainState, iteration: int) -> tuple[PyTree, Generator]:
    return {role: state.params[role] for role in ('policy', 'mask')}, self.generate

  def make_step(self) -> UpdateStep:
    step, every = super().make_step(), self.node.mask_every

    def update(state, frozen, batch, hyper):
      before = state.step
      state, seen = step(state, frozen, batch, hyper)
      due = state.step // every > before // every
      mask = jax.tree.map(
        lambda new, old: jnp.where(due, new, old), state.params['policy'], state.params['mask']
      )
      return state.replace(params={**state.params, 'mask': mask}), seen

    return update
