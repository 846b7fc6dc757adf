"""A resolved config → the objects of a run: tokenizer, task, mesh, policies, rewards."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rljax import binding, data, files, hosts, layouts, models, sharding, shares
from rljax.build_model import MODEL, build_model
from rljax.environments import Environment
from rljax.evaluation import evaluate
from rljax.objective import value_outputs
from rljax.placement import place
from rljax.prompts import Prompt, Task
from rljax.rewards.shared import SharedScorer
from rljax.rollouts import Generator
from rljax.shares import Shares
from rljax.structs import Policy, PyTree
from rljax.tokenization import Tokenizer, prompt_tokens
from rljax.workdir import read_config

EVALUATION_SEED = 0x5EED0000  # evaluation's noise differs from training's
# Training prompts that are compared with held-out ones, and the time to make them.
MOST_COMPARED, SECONDS_COMPARED = 20_000, 2.0
EVALUATION_GROUP = 16  # completions of a prompt in one call, at most: they share its prefill


@dataclasses.dataclass
class World:
  """What the stages of a run share.

  Attributes:
    config: resolved.
    tokenizer: of the policy.
    task: prompts and reward.
    mesh: of the devices that train.
    reference_shardings: of the reference's parameters.
    policies: role → Policy: 'policy', 'reference', and where a stage has one 'value' (a critic of
      its own), 'reward' (a reward model), 'teacher'.
    params: initial parameters of the trained roles.
    frozen: parameters of the teacher.
    model: node from which the policy can be built again, to be saved beside its parameters.
    scorer: of training samples: the task's reward, or the one that the config puts in its place.
    judge: of evaluation samples: the task's reward always.
    programs: role → jitted sampler, of the policy and the teacher.
    environment: what answers the policy's turns, or None.
    shares: which rows each process holds.
    lora: the policy's adapters, or None; its parameters are then theirs.
    base: {'base': the parameters that they are added to}, or {}.
  """

  config: Any
  tokenizer: Tokenizer
  task: Task
  mesh: jax.sharding.Mesh
  reference_shardings: PyTree
  policies: dict[str, Policy]
  params: dict[str, PyTree]
  frozen: dict[str, PyTree]
  model: dict[str, Any]
  scorer: SharedScorer
  judge: SharedScorer
  programs: dict[str, Callable[..., Any]]
  environment: Environment | None
  shares: Shares
  lora: models.Lora | None = None
  base: dict[str, PyTree] = dataclasses.field(default_factory=dict)

  def generator(self, node: Any, *, seed: int) -> Generator:
    """The sampler with the shapes and temperatures of a stage.

    Raises:
      ValueError: its slots are not divided by the devices along data and fsdp.
    """
    program = self.programs['policy']
    layouts.check_slots(node.sampler.slots, program.mesh)
    return Generator(
      program=program,
      tokenizer=self.tokenizer,
      place=lambda requests: shares.place(
        requests, sharding.request_shardings(requests, program.mesh)
      ),
      prompts=node.prompts,
      samples=node.samples,
      max_prompt=node.max_prompt,
      max_new_tokens=node.max_new_tokens,
      temperature=float(binding.value_at(node.temperature, 0)),
      top_k=node.top_k,
      top_p=node.top_p,
      min_p=node.min_p,
      seed=seed,
      sampler=node.sampler.to_dict(),
      environment=self.environment,
      shares=shares.of_mesh(program.mesh, sharding.ROWS),
    )

  def reward_start(self, params: dict[str, PyTree]) -> PyTree:
    """Where a reward model begins: the policy with a new head, or as its own node says.

    One that an earlier stage has trained goes on.
    """
    own, fresh = params['reward'], self.params['reward']
    nodes = [self.config[name].get('reward_model') for name in self.config.stages]
    if own is not fresh or any(nodes):
      return own
    # Copies: the update donates what it trains, and the policy is still there.
    policy = jax.tree.map(lambda x: x.copy(), self.merged(params['policy']))
    start = {n: x if n == 'value_head' else policy.get(n, x) for n, x in fresh.items()}
    return jax.device_put(start, jax.tree.map(lambda x: x.sharding, fresh))

  def as_reference(self, params: PyTree) -> PyTree:
    """A copy of the policy's parameters where those of the reference stand."""
    copy = jax.jit(partial(jax.tree.map, jnp.copy), out_shardings=self.reference_shardings)
    return copy(params)

  def merged(self, params: PyTree) -> PyTree:
    """Parameters of the policy with the adapters, if it has some, added in."""
    return self.lora.merge({'policy': params, **self.base}) if self.lora else params

  def evaluator(self) -> Generator:
    """The sampler for evaluation: the limits of the stage 'rl', other noise, no filters."""
    node = self.config.evaluation
    generate = self.generator(self.config.rl, seed=self.config.seed ^ EVALUATION_SEED)
    completions = node.samples + 1  # one is greedy
    samples = -(-completions // -(-completions // EVALUATION_GROUP))
    whole = sharding.sample_shards(self.mesh) if hosts.count() > 1 else 1  # no host has a part
    return dataclasses.replace(
      generate,
      prompts=-(-max(1, node.batch // samples) // whole) * whole,
      samples=samples,
      temperature=node.temperature,
      top_k=0,
      top_p=1.0,
      min_p=0.0,
    )

  def held_out(self, first: int, count: int) -> list[Prompt]:
    """Tokenized test prompts first … first + count − 1, as far as there are any.

    Raises:
      ValueError: there are none.
    """
    there = len(self.task.test)
    if there <= first:
      raise ValueError(
        f'task {self.task.name} has {there} held-out prompts, and more than {first} are needed '
        '(evaluation.num_prompts come first); lower evaluation.num_prompts or hold out more'
      )
    prompts = [self.task.test[i] for i in range(first, min(first + count, there))]
    return [dataclasses.replace(p, tokens=prompt_tokens(self.tokenizer, p)) for p in prompts]

  def evaluate(
    self, params: PyTree, first: int, count: int, *, samples: int, ks: Sequence[int] = ()
  ) -> dict[str, float]:
    """Metrics of a policy on `count` held-out prompts from number `first` on."""
    found = evaluate(
      params,
      self.held_out(first, count),
      self.evaluator(),
      self.judge.score,
      samples=samples,
      ks=ks,
      well_formed=self.task.well_formed,
    )
    return found.metrics

  def overview(self) -> str:
    size = sum(leaf.size for leaf in jax.tree.leaves(self.params['policy']))
    stages = ', '.join(f'{name} {self.config[name].iterations}' for name in self.config.stages)
    where = f'{size:,} parameters on {self.task.name}'
    return f'trains {where}: {stages} iterations at most, the first of a stage compiles'

  def warnings(self) -> list[str]:
    """What training prompts and the held-out ones of the evaluation have in common, if anything."""
    node = self.config.evaluation
    if not node.overlap:
      return []
    stop = time.monotonic() + SECONDS_COMPARED  # some tasks take long to make their problems
    first = itertools.islice(self.task.train, MOST_COMPARED)
    train = (p.text for p in itertools.takewhile(lambda _: time.monotonic() < stop, first))
    test = [prompt.text for prompt in itertools.islice(self.task.test, node.num_prompts)]
    found = data.overlap(train, test, ngram=node.overlap)
    return [f'warning: {found}'] if found.shared else []

  def close(self) -> None:
    """Ends the reward workers."""
    self.scorer.close()
    self.judge.close()


def assemble(
  config: Any,
  *,
  devices: Sequence[Any] | None = None,
  make: Callable[..., PyTree] = layouts.computed,
) -> World:
  """Builds everything that the stages of a resolved config share.

  Args:
    config: resolved.
    devices: those that there are; None = `jax.devices()`.
    make: how new parameters are made, see `build_model`.

  Raises:
    ValueError: a missing file, a mesh that does not fit, a model that does not fit the tokenizer;
      each names it.
  """
  tokenizer = binding.bind(tokenizer_node(config))({})
  task = binding.bind(config.task)({})
  placement = place(config, devices)
  rules = placement.rules
  build = partial(build_model, tokenizer=tokenizer, mesh=placement.mesh, make=make)
  stages = [config[name] for name in config.stages]
  critics = [s.get('critic') for s in stages if s.get('value')]
  own_critic = _the_one(critics, 'with values have different critics; a run has one, or one head')
  heads = [value_outputs(s) for s in stages if s.get('value')]
  head = _the_one(heads, 'with values need heads of different sizes') or False
  keys = jax.random.split(jax.random.key(config.seed), 4)
  hosts.meet('the model')
  model = build(
    config.model, key=keys[0], value_head=not own_critic and head, rules=rules['policy']
  )
  lora, base, policies, params = placement.policies(config.lora, model, keys[0], make)
  frozen = {}
  if own_critic:
    critic = build(own_critic, key=keys[1], value_head=head, rules=rules['value'])
    policies['value'], params['value'] = critic.policy, critic.params
  reward_models = [s.reward_model for s in stages if 'reward_model' in s]
  if reward_models:
    node = _the_one(reward_models, 'train different reward models') or {**model.node, 'path': ''}
    scored = build(node, key=keys[2], value_head=True, rules=rules['reward'])
    policies['reward'], params['reward'] = scored.policy, scored.params
  teachers = [s.teacher for s in stages if s.get('teacher')]
  if teachers:
    node = _the_one(teachers, 'have different teachers')
    teacher = build(node, key=keys[3], value_head=False, rules=rules['teacher'])
    policies['teacher'], frozen['teacher'] = teacher.policy, teacher.params
  samplers = {**policies, 'policy': lora.policy} if lora else policies
  programs = placement.programs(config, samplers, base, model.node, tokenizer, keys[0])
  limits = {k: config.rewards[k] for k in ('workers', 'cpu_seconds', 'memory_mib')}
  limits['seed'] = config.seed
  if hosts.count() > 1:
    limits['seconds'] = config.hosts.seconds / 2  # then the others are still waiting
  judge = SharedScorer(task.reward, **limits)
  reward = config.rewards.reward
  return World(
    config=config,
    tokenizer=tokenizer,
    task=task,
    mesh=placement.mesh,
    reference_shardings=placement.of_reference(
      lora.policy.axes['policy'] if lora else model.policy.axes, params['policy']
    ),
    policies=policies,
    params=params,
    frozen=frozen,
    model={**model.node, **({'lora': config.lora.to_dict()} if lora else {})},
    scorer=SharedScorer(reward, **limits) if reward else judge,
    judge=judge,
    programs=programs,
    environment=binding.bind(config.environment)({}) if config.environment else None,
    shares=shares.of_mesh(placement.mesh, sharding.ROWS),
    lora=lora,
    base=base,
  )


def _the_one(nodes: Sequence[Any], complaint: str) -> Any:
  """The node that all stages agree on, or None."""
  if any(node != nodes[0] for node in nodes):
    raise ValueError(f'stages {complaint}')
  return nodes[0] if nodes else None


def tokenizer_node(config: Any) -> dict[str, Any]:
  """The tokenizer's node; without a path of its own it comes from the model's directory."""
  node = dict(config.tokenizer)
  if node['name'].endswith('huggingface') and not node.get('path'):
    node['path'] = _tokenizer_directory(config.model.path)
  return node


def _tokenizer_directory(path: str) -> str:
  """Where the tokenizer of a model stands; of a work directory that of the model it began with."""
  if not path:
    raise ValueError(
      'a Hugging Face tokenizer is wanted, but neither config.tokenizer.path nor '
      'config.model.path says where it is'
    )
  if path.startswith('hf://') or not (files.as_path(path) / MODEL).exists():
    return str(models.local_directory(path))
  began = read_config(path)['config']
  return began['tokenizer'].get('path') or _tokenizer_directory(began['model']['path'])
