"""What the kinds of stages share: objective, optimizers, layout and the compiled update."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from rljax import arrays, binding, hosts, layouts, objective, sharding, shares, update
from rljax.assembly import World
from rljax.data.packing import Layout, make_layout, shared_fraction
from rljax.prompts import Prompt
from rljax.stages.resets import Resets
from rljax.structs import Batch, Policy, PyTree, TrainState
from rljax.tokenization import prompt_tokens


class Collected(NamedTuple):
  """One iteration's data: the packed batch, its metrics, and rows for the samples table."""

  batch: Batch
  metrics: dict[str, Any]
  rows: list[dict[str, Any]]


class Stage:
  """A stage of a run.

  Attributes:
    name: its key in the config.
    iterations: of the stage.
    steps_per_iteration: optimizer steps.
    draws: prompts drawn so far in the run; numbers the draws.
    resets: when the reference moves.
    update: `(state, frozen, batch, hyper) -> (state, metrics)`, jitted; there after `init`.
    samples: whether the policy draws what it learns from.
    learns_from_reward: whether equal rewards mean that nothing is learnt.
  """

  samples = False
  learns_from_reward = False
  role = 'policy'  # that is trained
  makes: tuple[str, ...] = ()  # arrays of the stage's own

  def __init__(self, name: str, world: World, *, layout: Layout, draws: int = 0):
    node = world.config[name]
    if layout.rows % sharding.row_divisor(world.mesh):
      raise ValueError(
        f'{name}.rows is {layout.rows}: it must be a multiple of data × fsdp × expert = '
        f'{sharding.row_divisor(world.mesh)} devices'
      )
    if layout.row_length % world.mesh.shape['sequence']:
      raise ValueError(
        f'{name}.row_length is {layout.row_length}: it must be a multiple of sequence = '
        f'{world.mesh.shape["sequence"]} devices'
      )
    self.name, self.node, self.world = name, node, world
    self.iterations, self.draws = node.iterations, draws
    self.objective = objective.build(node, self.makes)
    self.layout = layout
    self._average: Callable[..., PyTree] | None = None  # the program of the next reference
    self._fresh: Callable[..., PyTree] | None = None  # the program of an optimizer's start
    self._check_micro_batches()
    if layout.share_prompts:
      check_prefixes(name, world.policies)
    self._check_roles()
    self.resets = Resets(name, node, has_reference=self.needs_reference)
    self.steps_per_iteration = node.get('epochs', 1) * layout.minibatches
    steps = node.iterations * self.steps_per_iteration
    roles = {self.role: node.optimizer}
    if self.objective.value is not None and 'value' in world.policies:
      roles['value'] = node.critic_optimizer
    self.optimizers = {role: _bind_optimizer(node, steps) for role, node in roles.items()}
    given = {
      'prompts': world.task.train,
      'seed': world.config.seed + world.config.stages.index(name),
    }
    self.curriculum = binding.bind(node.curriculum, given)(given)

  def _check_micro_batches(self) -> None:
    """Refuses a cut through samples that the loss compares."""
    loss, layout = self.objective.loss, self.layout
    if self.objective.couples == 'batch' and layout.micro_batches > 1:
      raise ValueError(
        f'{self.name}: {loss.name} compares all samples of a step, which must stand in one '
        f'micro-batch; rows={layout.rows * layout.micro_batches} is sure to hold them'
      )

  def _check_roles(self) -> None:
    """Refuses functions that look at a model which the stage does not have."""
    terms = self.objective
    own = terms.needs & {*arrays.OLD, *arrays.CAPTURED}
    asked = {'policy'} if terms.statistics or own else set()
    asked |= {'reward'} if terms.late & set(arrays.SCORES) else set()
    for role in sorted(terms.frozen_roles - set(self.world.policies) - {'reward'}):
      raise ValueError(
        f'{self.name}: its functions ask for a {role}; set config.{self.name}.{role} to '
        f"dict(name='models.decoder', path=<work directory of a run>)"
      )
    if 'reward' in terms.frozen_roles:
      self._check_reward_model('its functions ask for the scores of a reward model')
    for role in sorted(asked - {self.role}):
      raise ValueError(
        f'{self.name} trains the role {self.role!r}, and {terms.loss.name} learns from '
        f'what the role {role!r} says'
      )

  def _check_reward_model(self, why: str) -> None:
    """Refuses a stage before which no stage has trained a reward model."""
    stages = self.world.config.stages
    earlier = stages[: stages.index(self.name)]
    if not any(self.world.config[name].kind == 'reward_model' for name in earlier):
      raise ValueError(
        f"{self.name}: {why}, and no stage of kind 'reward_model' stands before it in "
        f'stages={tuple(stages)}'
      )

  @property
  def needs_reference(self) -> bool:
    return 'reference' in self.objective.frozen_roles

  def start_params(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
    """The parameters with which the trained roles begin."""
    return {role: params[role] for role in self.optimizers}

  def init(self, params: dict[str, PyTree], key: jax.Array) -> TrainState:
    """The train state of the stage's start (fresh optimizers, step 0), and the compiled update."""
    params = self.start_params(params)
    moments = jax.jit(self._first_moments, out_shardings=self._moments_of(params))
    state = update.init_train_state(
      params, self.optimizers, key, self.objective.first_state(), moments
    )
    shardings = sharding.state_shardings(state, self.world.mesh)
    self.update = self.program(shardings)
    return shares.place(state, shardings)

  def program(self, shardings: PyTree) -> Callable[..., Any]:
    """The jitted update of a train state with these shardings."""
    # The state leaves in the sharding in which it came, so that there is one program.
    return jax.jit(self.make_step(), donate_argnums=0, out_shardings=(shardings, None))

  def _first_moments(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
    return update.first_moments(params, self.optimizers)

  def _moments_of(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
    """Where the optimizers' states stand: with their parameters, or on the host."""
    shapes, mesh = jax.eval_shape(self._first_moments, params), self.world.mesh
    found = {role: layouts.moment_shardings(shapes[role], params[role], mesh) for role in params}
    return layouts.on_host(found) if self.world.config.offload.optimizer else found

  def make_step(self) -> update.UpdateStep:
    """The update, to be compiled."""
    return update.make_update_step(
      self.objective,
      self.world.policies,
      self.optimizers,
      epochs=self.node.get('epochs', 1),
      chunk_size=self.node.chunk_size,
    )

  def next_reference(
    self, state: TrainState, frozen: dict[str, PyTree], done: int
  ) -> PyTree | None:
    """The reference of the iterations to come, where this one changes it."""
    if not self.resets.is_due(done):
      return None
    average = binding.bind(self.node.reference_update, ('policy', 'reference'))
    given = {'policy': state.params['policy'], 'reference': frozen['reference']}
    if self._average is None:
      # It leaves in the sharding in which it came: the update has one program for both.
      shardings = jax.tree.map(lambda x: x.sharding, frozen['reference'])
      self._average = jax.jit(
        lambda given, hyper: average(layouts.fetch(given), hyper), out_shardings=shardings
      )
    return self._average(given, average.hyper(done))

  def renew(
    self, state: TrainState, frozen: dict[str, PyTree], done: int, metrics: Mapping[str, Any]
  ) -> tuple[TrainState, PyTree | None]:
    """(the train state, the reference or None: it stays) of the iterations to come."""
    self.watch(metrics)
    reference = self.next_reference(state, frozen, done)
    if reference is None or not self.resets.with_optimizer:
      return state, reference
    if self._fresh is None:
      shardings = jax.tree.map(lambda x: x.sharding, state.opt_state)
      self._fresh = jax.jit(self._first_moments, out_shardings=shardings)
    return state.replace(opt_state=self._fresh(state.params)), reference

  def watch(self, metrics: Mapping[str, Any]) -> None:
    """Takes what decides on the reference from an iteration's metrics."""
    self.resets.see(metrics)

  def hyper(self, iteration: int) -> dict[str, Any]:
    """The traced hyper-parameters of an iteration of the stage."""
    rates = {role: bound.hyper(iteration) for role, bound in self.optimizers.items()}
    return {**self.objective.hyper(iteration), 'optimizer': rates}

  def rename(self, metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics under the names of this kind of stage."""
    return metrics

  def is_good_enough(self, state: TrainState, done: int) -> bool:
    """Whether the stage ends here, after `done` of its iterations."""
    return False

  def evaluate(self, params: dict[str, PyTree], frozen: dict[str, PyTree]) -> dict[str, float]:
    """Held-out metrics by their last word, such as 'greedy': of the policy, by default."""
    node = self.world.config.evaluation
    return self.world.evaluate(
      params['policy'], 0, node.num_prompts, samples=node.samples, ks=node.ks
    )

  def next_prompts(self, count: int) -> list[Prompt]:
    """Prompts of the curriculum, tokenized."""
    return self.tokenized(self.curriculum.sample(count))

  def tokenized(self, prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts with their ids."""
    tokenizer = self.world.tokenizer
    return [dataclasses.replace(p, tokens=prompt_tokens(tokenizer, p)) for p in prompts]

  def completion_tokens(self, text: str) -> list[int]:
    """The ids of a given completion, with the stop token."""
    tokenizer = self.world.tokenizer
    return [*tokenizer.encode(text), tokenizer.eos_ids[0]]

  def shared(self, batch: Batch) -> dict[str, float]:
    """The metric of shared prompts, where there are any."""
    if not self.layout.share_prompts:
      return {}
    return {'rollout/shared': shared_fraction(batch, self.layout.shares)}

  def place(self, batch: Batch) -> Batch:
    """The batch on the devices of the mesh; the hosts meet, for an update comes next."""
    mesh, own = self.world.mesh, self.layout.shares
    if hosts.count() == 1:
      return sharding.shard_batch(batch, mesh)
    hosts.meet(f'an update of {self.name}')
    whole = own.outline(batch, self.layout.rows)
    return own.assemble(batch, sharding.batch_shardings(whole, mesh))

  def whole(self, batch: Batch) -> Batch:
    """The batch with the rows of all hosts, on each of them."""
    if hosts.count() == 1:
      return batch
    placed = self.place(batch)
    everywhere = jax.tree.map(lambda _: sharding.replicated(self.world.mesh), placed)
    return jax.device_get(shares.place(placed, everywhere))

  def state_dict(self) -> dict[str, Any]:
    """What the stage remembers besides the train state and `draws`, which outlives it."""
    return {'curriculum': self.curriculum.state_dict(), 'resets': self.resets.state_dict()}

  def load_state_dict(self, state: dict[str, Any]) -> None:
    self.curriculum.load_state_dict(state['curriculum'])
    self.resets.load_state_dict(state['resets'])


def _bind_optimizer(node: Any, steps: int) -> binding.Bound:
  """The optimizer; one that asks for `total_steps` and is not told gets the stage's."""
  length = {'total_steps': steps} if node.get('total_steps') == 0 else {}
  return binding.bind({**node, **length})


def make_stage_layout(node: Any, **sizes: Any) -> Layout:
  """The layout of a stage's node, in which samples that its loss compares stay together."""
  declared = getattr(binding.resolve(node.loss['name']), 'declared', None)
  return make_layout(
    rows=node.rows,
    row_length=node.row_length,
    packed=node.packed,
    share_prompts=node.share_prompts,
    whole_groups=declared is not None and declared.couples == 'group',
    **sizes,
  )


def check_prefixes(name: str, policies: Mapping[str, Policy]) -> None:
  """Refuses roles whose rows cannot hold a prompt once for several samples; computes nothing.

  Raises:
    ValueError: `Policy.hidden` of a role takes no prefix_ids.
  """
  ids = jax.ShapeDtypeStruct((1, 2), 'int32')
  given = dict(segment_ids=ids, positions=ids, prefix_ids=ids)
  for role, policy in policies.items():
    try:
      params = jax.eval_shape(policy.init, jax.random.key(0))
      jax.eval_shape(policy.hidden, params, ids, **given)
    except (TypeError, ValueError) as error:
      raise ValueError(
        f'{name}.share_prompts: the {role} cannot take shared prompts ({error}); set it to False'
      ) from error
