"""The stages of a run: where the samples of an iteration come from, and the update they feed."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from rljax import binding, objective, sharding, update
from rljax.assembly import World
from rljax.data.demonstrations import as_rollout
from rljax.data.packing import Layout, make_layout, pack
from rljax.prompts import Prompt
from rljax.rollouts.measures import experience_metrics, group_means, table_rows
from rljax.structs import Batch, PyTree, TrainState
from rljax.tokenization import prompt_tokens

DEV_PROMPTS = 256  # held-out prompts behind those of the evaluation, for an early stop of SFT
DEV_SAMPLES = 3
STRATEGY_GETS = ('params', 'prompts', 'draw_ids', 'generate', 'score', 'policy_step')


class Collected(NamedTuple):
  """One iteration's data: the packed batch, its metrics, and rows for the samples table."""

  batch: Batch
  metrics: dict[str, Any]
  rows: list[dict[str, Any]]


class Stage:
  """What the kinds of stages share: objective, optimizers, layout and the compiled update.

  Attributes:
    name: its key in the config.
    iterations: of the stage.
    steps_per_iteration: optimizer steps.
    draws: prompts drawn so far in the run; numbers the draws.
    update: `(state, frozen, batch, hyper) -> (state, metrics)`, jitted; there after `init`.
    samples: whether the policy draws what it learns from.
  """

  samples = False

  def __init__(self, name: str, world: World, *, layout: Layout, draws: int = 0):
    node = world.config[name]
    if layout.rows % sharding.row_divisor(world.mesh):
      raise ValueError(
        f'{name}.rows is {layout.rows}: it must be a multiple of data × fsdp = '
        f'{sharding.row_divisor(world.mesh)} devices'
      )
    self.name, self.node, self.world, self.layout = name, node, world, layout
    self.iterations, self.draws = node.iterations, draws
    self.objective = objective.build(node)
    self.steps_per_iteration = node.get('epochs', 1) * layout.minibatches
    steps = node.iterations * self.steps_per_iteration
    roles = {'policy': node.optimizer}
    if self.objective.value is not None and 'value' in world.policies:
      roles['value'] = node.critic_optimizer
    self.optimizers = {role: _bind_optimizer(node, steps) for role, node in roles.items()}
    given = {
      'prompts': world.task.train,
      'seed': world.config.seed + world.config.stages.index(name),
    }
    self.curriculum = binding.bind(node.curriculum, given)(given)

  @property
  def needs_reference(self) -> bool:
    return 'reference' in self.objective.frozen_roles

  def init(self, params: dict[str, PyTree], key: jax.Array) -> TrainState:
    """The train state of the stage's start (fresh optimizers, step 0), and the compiled update."""
    trained = {role: params[role] for role in self.optimizers}
    state = update.init_train_state(
      trained, self.optimizers, key, self.objective.first_state()
    )
    shardings = sharding.state_shardings(state, self.world.mesh)
    step = update.make_update_step(
      self.objective,
      self.world.policies,
      self.optimizers,
      epochs=self.node.get('epochs', 1),
      chunk_size=self.node.chunk_size,
    )
    # The state leaves in the sharding in which it came, so that there is one program.
    self.update = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
    return jax.device_put(state, shardings)

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

  def next_prompts(self, count: int) -> list[Prompt]:
    """Prompts of the curriculum, tokenized."""
    tokenizer = self.world.tokenizer
    return [
      dataclasses.replace(p, tokens=prompt_tokens(tokenizer, p))
      for p in self.curriculum.sample(count)
    ]

  def place(self, batch: Batch) -> Batch:
    """The batch on the devices of the mesh."""
    return sharding.shard_batch(batch, self.world.mesh)

  def state_dict(self) -> dict[str, Any]:
    """What the stage remembers besides the train state and `draws`, which outlives it."""
    return {'curriculum': self.curriculum.state_dict()}

  def load_state_dict(self, state: dict[str, Any]) -> None:
    self.curriculum.load_state_dict(state['curriculum'])


def _bind_optimizer(node: Any, steps: int) -> binding.Bound:
  """The optimizer; one that asks for `total_steps` and is not told gets the stage's."""
  length = {'total_steps': steps} if node.get('total_steps') == 0 else {}
  return binding.bind({**node, **length})


class Supervised(Stage):
  """Kind 'sft': demonstrations of the task in place of samples."""

  def __init__(self, name: str, world: World, draws: int = 0):
    node = world.config[name]
    if world.task.demonstrate is None:
      raise ValueError(f'stage {name!r} needs demonstrations, and task {world.task.name} has none')
    layout = make_layout(
      samples=node.prompts,
      group_size=1,
      max_length=node.max_length,
      rows=node.rows,
      row_length=node.row_length,
      packed=node.packed,
    )
    super().__init__(name, world, layout=layout, draws=draws)

  def is_good_enough(self, state: TrainState, done: int) -> bool:
    """True once `stop_accuracy` is reached: pass@1 (temperature 1) on held-out prompts."""
    if not self.node.stop_accuracy or done % self.node.stop_every:
      return False
    first = self.world.config.evaluation.num_prompts
    seen = self.world.evaluate(
      state.params['policy'], first, DEV_PROMPTS, samples=DEV_SAMPLES
    )
    return seen[f'avg@{DEV_SAMPLES}'] >= self.node.stop_accuracy

  def collect(self, state: TrainState, iteration: int) -> Collected:
    prompts = self.next_prompts(self.node.prompts)
    tokenizer, demonstrate = self.world.tokenizer, self.world.task.demonstrate
    completions = [
      [*tokenizer.encode(demonstrate(p)), tokenizer.eos_ids[0]] for p in prompts
    ]
    rollout = as_rollout(
      [p.tokens for p in prompts],
      completions,
      length=self.node.max_length,
      prompt_ids=[p.prompt_id for p in prompts],
    )
    batch, capacity = pack(rollout, np.zeros(len(prompts), np.float32), self.layout)
    metrics = {'rollout/capacity': capacity, 'rollout/tokens': int(rollout.num_tokens.sum())}
    return Collected(self.place(batch), metrics, [])

  def rename(self, metrics: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in metrics.items() if not k.startswith(('policy/', 'rollout/mismatch'))}
    return {f'{self.name}/loss': metrics['policy/loss'], **kept}


class Reinforcement(Stage):
  """Kind 'rl': the rollout strategy samples, rewards score."""

  samples = True

  def __init__(self, name: str, world: World, draws: int = 0):
    node = world.config[name]
    self.generate = world.generator(node, seed=world.config.seed)
    layout = make_layout(
      samples=node.prompts * node.samples,
      group_size=node.samples,
      max_length=self.generate.max_length,
      minibatches=node.minibatches,
      rows=node.rows,
      row_length=node.row_length,
      packed=node.packed,
    )
    super().__init__(name, world, layout=layout, draws=draws)
    self.strategy = binding.bind(node.rollout, STRATEGY_GETS)
    self._told: set[str] = set()
    # What a function asks for before the update, the sampler records.
    capture = ('entropy',) if 'entropy' in self.objective.early else ()
    self.generate = dataclasses.replace(self.generate, capture=capture)

  def init(self, params: dict[str, PyTree], key: jax.Array) -> TrainState:
    if used := self.generate.settings.filters:
      kl = self.objective.kl
      also = '' if kl is None or 'full_kl' in kl.arrays else (
        '; a KL of sampled tokens is then biased, regularizers.full_reverse_kl is not'
      )
      print(
        f'{self.name}: {", ".join(used)} in use: samples are not from the policy that is '
        f'trained, while ratios compare its log-probs before filters{also}',
        flush=True,
      )
    return super().init(params, key)

  def collect(self, state: TrainState, iteration: int) -> Collected:
    started, scoring = time.perf_counter(), 0.0

    def score(completions):
      nonlocal scoring
      before = time.perf_counter()
      scores = self.world.scorer.score(completions)
      scoring += time.perf_counter() - before
      self._tell(scores.messages)
      return scores

    prompts = self.next_prompts(self.node.prompts)
    experience = self.strategy(
      {
        'params': state.params['policy'],
        'prompts': prompts,
        'draw_ids': self.draws + np.arange(len(prompts)),
        'generate': dataclasses.replace(
          self.generate, temperature=binding.value_at(self.node.temperature, iteration)
        ),
        'score': score,
        'policy_step': state.step,
      }
    )
    self.draws += len(prompts)
    rewards = experience.to_rows(experience.scores.rewards)
    self.curriculum.update([p.prompt_id for p in prompts], group_means(experience, len(prompts)))
    # Without the components: which there are may depend on the samples, and the program on them.
    batch, capacity = pack(experience.rollout, rewards, self.layout)
    metrics = {
      **experience_metrics(experience),
      'rollout/capacity': capacity,
      'time/reward': scoring,
      'time/rollout': time.perf_counter() - started - scoring,
    }
    return Collected(self.place(batch), metrics, table_rows(experience))

  def _tell(self, messages: dict[str, int]) -> None:
    """Prints what went wrong in rewards, each message once."""
    for message, count in messages.items():
      if message not in self._told:
        print(f'{self.name}: no reward for {count} completions: {message}', flush=True)
        self._told.add(message)


KINDS = {'sft': Supervised, 'rl': Reinforcement}


def make_stage(name: str, world: World, *, draws: int = 0) -> Stage:
  """The stage of a key of the config.

  Raises:
    ValueError: functions, shapes or files that do not fit together.
  """
  return KINDS[world.config[name].kind](name, world, draws=draws)
