"""Kind 'rl': the rollout strategy samples, rewards score."""

from __future__ import annotations

import collections
import dataclasses
import time
from typing import Any

import jax
import numpy as np

from rljax import binding
from rljax.assembly import World
from rljax.data.packing import pack
from rljax.prompts import Prompt
from rljax.rollouts import Experience, Generator, streamed
from rljax.rollouts.measures import experience_metrics, prompt_means, table_rows
from rljax.rollouts.sources import Source
from rljax.rollouts.temperature import sampled_entropy
from rljax.stages.several import check_hosts, dealt
from rljax.stages.stage import Collected, Stage, make_stage_layout
from rljax.stages.waiting import from_record, to_record
from rljax.structs import Batch, PyTree, TrainState

STRATEGY_GETS = (
  'params',
  'prompts',
  'draw_ids',
  'generate',
  'score',
  'policy_step',
  'next_prompts',
  'sources',
)

CRITIC_STARTS = ('', 'reward_model')
MOST_TOLD = 10  # different messages of rewards that failed


class Reinforcement(Stage):
  """Kind 'rl': the rollout strategy samples, rewards score."""

  samples = True
  learns_from_reward = True
  asks_sources = False  # besides the rollout strategy

  def __init__(self, name: str, world: World, draws: int = 0):
    node = world.config[name]
    self.generate = world.generator(node, seed=world.config.seed)
    layout = make_stage_layout(
      node,
      shares=world.shares,
      samples=node.prompts * node.samples,
      group_size=node.samples,
      max_length=self.generate.max_length,
      minibatches=node.minibatches,
    )
    super().__init__(name, world, layout=layout, draws=draws)
    self._check_critic()
    self.strategy = binding.bind(node.rollout, STRATEGY_GETS)
    if world.environment is not None and self.strategy.function is streamed:
      raise ValueError(
        f'{name}.rollout: {self.strategy.name} scores samples while others are drawn and knows no '
        f'environment; rollouts.single_turn does'
      )
    check_hosts(self)
    if node.max_staleness < 0:
      raise ValueError(f'{name}.max_staleness is {node.max_staleness}; 0 or more iterations')
    self.sources = self._sources()
    self._told: set[str] = set()
    # Rollouts that wait for their update, the oldest first: (iteration they were drawn in, data).
    self._waiting: collections.deque[tuple[int, Collected]] = collections.deque()
    chooser = node.temperature_controller
    self._controller = binding.bind(chooser, ('temperature', 'entropy')) if chooser else None
    self._temperature: float | None = None  # that the controller has chosen
    # What a function asks for before the update, the sampler records.
    capture = ('entropy',) if 'entropy' in self.objective.early else ()
    if node.replay_routing:
      if world.policies['policy'].routed is None:
        raise ValueError(f'{name}.replay_routing is True, and the policy has no experts')
      capture = (*capture, 'routing')
    self.generate = dataclasses.replace(self.generate, capture=capture)

  def _check_critic(self) -> None:
    """Refuses a start of the critic that cannot be."""
    start, params = self.node.critic_start, self.world.params
    if start not in CRITIC_STARTS:
      raise ValueError(
        f'{self.name}.critic_start is {start!r}; it is one of {str(CRITIC_STARTS)[1:-1]}'
      )
    if not start:
      return
    if 'value' not in self.optimizers:
      raise ValueError(f'{self.name}.critic_start is {start!r}, and there is no critic of its own')
    self._check_reward_model(f'critic_start is {start!r}')
    shapes = [jax.tree.map(lambda x: x.shape, params[role]) for role in ('value', 'reward')]
    if shapes[0] != shapes[1]:
      raise ValueError(
        f'{self.name}.critic_start is {start!r}: the critic and the reward model have different '
        f'shapes; give config.{self.name}.critic the fields of the reward model'
      )

  def start_params(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
    start = super().start_params(params)
    if self.node.critic_start:
      # Copies: the update donates what it trains, and the reward model may still score.
      start['value'] = jax.tree.map(lambda x: x.copy(), params['reward'])
    return start

  def _sources(self) -> dict[str, Source]:
    """Who else answers prompts, by name; built once."""
    name, strategy, nodes = self.name, self.strategy, self.node.sources
    if 'sources' in strategy.arrays and not nodes:
      raise ValueError(
        f'{name}.rollout: {strategy.name} asks for completions that others have written; set '
        f"{name}.sources to dict(task=dict(name='rollouts.sources.demonstrations'))"
      )
    if nodes and not self.asks_sources and 'sources' not in strategy.arrays:
      raise ValueError(
        f'{name}.sources names {", ".join(sorted(nodes))}, and nothing asks them: {strategy.name} '
        f'takes no completions of others, rollouts.with_external does'
      )
    if getattr(strategy.function, 'external', False) and self.objective.bypass:
      raise ValueError(
        f"{name}.old_logprobs is 'sampler', and the sampler has none of the completions that "
        f"{strategy.name} brings; set it to 'recompute'"
      )
    world = self.world
    given = {'demonstrate': world.task.demonstrate, 'generate': self.generate, 'mesh': world.mesh}
    return {key: binding.bind(nodes[key], given)(given) for key in sorted(nodes)}

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
    """The rollout whose turn it is.

    It was drawn `max_staleness` iterations ago, or at the stage's start: as when the sampler runs
    that far ahead of the update. An iteration draws one rollout, the first one those besides that
    are wanted before any newer policy exists.
    """
    due = iteration + len(self._waiting)
    while due < self.iterations and len(self._waiting) <= self.node.max_staleness:
      self._waiting.append((iteration, self._draw_rollout(state, due)))
      due += 1
    drawn, collected = self._waiting.popleft()
    age = {'rollout/age': iteration - drawn} if self.node.max_staleness else {}
    return Collected(
      self.place(collected.batch), {**collected.metrics, **age}, collected.rows
    )

  def _draw_rollout(self, state: TrainState, iteration: int) -> Collected:
    """A rollout by the present policy, on the host."""
    started, scoring = time.perf_counter(), 0.0

    def score(completions):
      nonlocal scoring
      before = time.perf_counter()
      scores = self.world.scorer.score(completions)
      scoring += time.perf_counter() - before
      self._tell(scores.messages)
      return scores

    prompts, draw_ids = self.draw(self.prompts)
    temperature = self._temperature or binding.value_at(self.node.temperature, iteration)
    params, generate = self.sampler(state, iteration)
    experience = self.strategy(
      {
        'params': params,
        'prompts': prompts,
        'draw_ids': draw_ids,
        'generate': dataclasses.replace(generate, temperature=temperature),
        'score': score,
        'policy_step': state.step,
        'next_prompts': self.draw,
        'sources': self.sources,
      }
    )
    batch, capacity = self.pack(experience)
    metrics = {
      **self._control(temperature, experience),
      **experience_metrics(experience),
      **experience.metrics,
      'rollout/capacity': capacity,
      **self.shared(batch),
      'time/reward': scoring,
      'time/rollout': time.perf_counter() - started - scoring,
    }
    return Collected(batch, metrics, table_rows(experience))

  def _control(self, temperature: float, experience: Experience) -> dict[str, float]:
    """Lets the controller choose the next temperature; metrics of what it has seen."""
    if self._controller is None:
      return {}
    entropy = sampled_entropy(experience)
    given = {'temperature': temperature, 'entropy': entropy}
    self._temperature = self._controller(given, self._controller.hyper(0))
    return {'rollout/temperature': temperature, 'rollout/entropy': entropy}

  @property
  def prompts(self) -> int:
    """Prompts that an iteration samples."""
    return self.node.prompts

  def draw(self, count: int) -> tuple[list[Prompt], np.ndarray]:
    """The next prompts, and the run-wide numbers of their draws."""
    prompts = self.next_prompts(count)
    draw_ids = self.draws + np.arange(len(prompts))
    self.draws += len(prompts)
    return prompts, draw_ids

  def sampler(self, state: TrainState, iteration: int) -> tuple[PyTree, Generator]:
    """Who samples, and with which parameters."""
    return state.params['policy'], self.generate

  def pack(self, experience: Experience, **extras: np.ndarray) -> tuple[Batch, float]:
    """The batch of the samples; the curriculum is told how its prompts went."""
    self.curriculum.update(*prompt_means(experience))
    return self.packed(experience, **extras)

  def packed(self, experience: Experience, **extras: np.ndarray) -> tuple[Batch, float]:
    """The batch of the samples."""
    rewards = experience.to_rows(experience.scores.rewards)
    # Only declared components: which there are may depend on the samples, and the program on them.
    if self.node.replay_routing and experience.rollout.routing is None:
      raise ValueError(
        f'{self.name}.replay_routing is True, and {self.strategy.name} hands on no choice of '
        'experts'
      )
    missing = np.full(len(experience.scores.rewards), np.nan, np.float32)
    found = {'reward': experience.scores.rewards, **experience.scores.components}
    components = {
      name: experience.to_rows(found.get(name, missing)) for name in self.node.reward_components
    }
    extras = {**experience.extras, **extras}
    rollout, extras, owners = dealt(experience.rollout, extras, self.layout)
    given = dict(components=components, extras=extras, owners=owners)
    return pack(rollout, rewards, self.layout, **given)

  def _tell(self, messages: dict[str, int]) -> None:
    """Prints what went wrong in rewards, each message once, and not more than `MOST_TOLD`."""
    for message, count in messages.items():
      if message in self._told or len(self._told) > MOST_TOLD:
        continue
      self._told.add(message)
      if len(self._told) > MOST_TOLD:
        message = f'{message} (others are not shown; reward/errors counts them)'
      print(f'{self.name}: no reward for {count} completions: {message}', flush=True)

  def state_dict(self) -> dict[str, Any]:
    waiting = to_record(self._waiting, self.whole)
    return {**super().state_dict(), 'waiting': waiting, 'temperature': self._temperature}

  def load_state_dict(self, state: dict[str, Any]) -> None:
    super().load_state_dict(state)
    self._temperature = state['temperature']
    self._waiting.extend(from_record(state['waiting'], self.layout))
