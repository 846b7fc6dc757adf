"""The stages of a run: where the samples of an iteration come from, and the update they feed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rljax import binding, objective, sharding, update
from rljax.assembly import World
from rljax.data.demonstrations import as_rollout
from rljax.data.packing import Layout, make_layout, pack
from rljax.prompts import Prompt
from rljax.rollouts import Experience
from rljax.structs import Batch, PyTree, TrainState
from rljax.tokenization import prompt_tokens


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
    self.name, self.node, self.world, self.layout = name, node, world, layout
    self.iterations, self.draws = node.iterations, draws
    self.objective = objective.build(node)
    self.steps_per_iteration = node.get('epochs', 1) * layout.minibatches
    steps = node.iterations * self.steps_per_iteration
    roles = {'policy': node.optimizer}
    if self.objective.value is not None and 'value' in world.policies:
      roles['value'] = node.critic_optimizer
    self.optimizers = {
      role: binding.bind({**optimizer, 'total_steps': optimizer.get('total_steps') or steps})
      for role, optimizer in roles.items()
    }
    curriculum = node.get('curriculum') or {'name': 'curriculum.uniform'}
    order = {'seed': world.config.seed + world.config.stages.index(name)}
    self.curriculum = binding.bind({**curriculum, **order})({'prompts': world.task.train})

  @property
  def needs_reference(self) -> bool:
    return 'ref_logprobs' in self.objective.needs

  def init(self, params: dict[str, PyTree], key: jax.Array) -> TrainState:
    """The train state of the stage's start (fresh optimizers, step 0), and the compiled update."""
    trained = {role: params[role] for role in self.optimizers}
    state = update.init_train_state(trained, self.optimizers, key)
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

  def next_prompts(self, count: int) -> list[Prompt]:
    """Prompts of the curriculum, tokenized."""
    tokenizer = self.world.tokenizer
    return [
      dataclasses.replace(p, tokens=prompt_tokens(tokenizer, p))
      for p in self.curriculum.sample(count)
    ]

  def place(self, batch: Batch) -> Batch:
    """The batch on the devices of the mesh."""
    return jax.device_put(batch, sharding.batch_shardings(batch, self.world.mesh))

  def state_dict(self) -> dict[str, Any]:
    return {'draws': self.draws, 'curriculum': self.curriculum.state_dict()}

  def load_state_dict(self, state: dict[str, Any]) -> None:
    self.draws = state['draws']
    self.curriculum.load_state_dict(state['curriculum'])


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

  def collect(self, state: TrainState) -> Collected:
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
    self.strategy = binding.bind(node.rollout)

  def collect(self, state: TrainState) -> Collected:
    started, scoring = time.perf_counter(), 0.0

    def score(completions):
      nonlocal scoring
      before = time.perf_counter()
      scores = self.world.scorer.score(completions)
      scoring += time.perf_counter() - before
      return scores

    prompts = self.next_prompts(self.node.prompts)
    experience = self.strategy(
      {
        'params': state.params['policy'],
        'prompts': prompts,
        'draw_ids': self.draws + np.arange(len(prompts)),
        'generate': self.generate,
        'score': score,
        'policy_step': state.step,
      }
    )
    self.draws += len(prompts)
    rewards = experience.to_rows(experience.scores.rewards)
    components = {k: experience.to_rows(v) for k, v in experience.scores.components.items()}
    self.curriculum.update([p.prompt_id for p in prompts], _group_means(experience, len(prompts)))
    batch, capacity = pack(experience.rollout, rewards, self.layout, components=components)
    metrics = {
      **experience_metrics(experience),
      'rollout/capacity': capacity,
      'time/reward': scoring,
      'time/rollout': time.perf_counter() - started - scoring,
    }
    return Collected(self.place(batch), metrics, _rows(experience))


KINDS = {'sft': Supervised, 'rl': Reinforcement}


def experience_metrics(experience: Experience) -> dict[str, Any]:
  """reward/*, group/* and rollout/* of one iteration, over its used samples."""
  rollout, scores = experience.rollout, experience.scores
  used = rollout.group_ids >= 0
  scored = np.isfinite(scores.rewards)
  rewards, groups = scores.rewards[scored], rollout.group_ids[used][scored]
  spread = [np.ptp(rewards[groups == g]) for g in np.unique(groups)]
  lengths = (rollout.num_tokens - rollout.prompt_length)[used]
  truncated = float(rollout.truncated[used].mean())
  metrics = {
    'reward/mean': float(rewards.mean()) if len(rewards) else float('nan'),
    'reward/std': float(rewards.std()) if len(rewards) else float('nan'),
    'reward/errors': scores.errors,
    'reward/timeouts': scores.timeouts,
    'group/zero_variance': float(np.mean(np.array(spread) <= 1e-6)) if spread else 1.0,
    'group/size': len(groups) / max(len(spread), 1),
    'rollout/tokens': int(lengths.sum()),
    'rollout/length_mean': float(lengths.mean()),
    'rollout/truncated': truncated,
    'rollout/eos_rate': 1.0 - truncated,
  }
  for name, values in scores.components.items():
    metrics[f'reward/{name}'] = float(np.nanmean(values)) if np.isfinite(values).any() else None
  return {k: v for k, v in metrics.items() if v is not None}


def _group_means(experience: Experience, count: int) -> np.ndarray:
  """Mean reward of each prompt's group; NaN where nothing was scored."""
  groups = experience.rollout.group_ids[experience.rollout.group_ids >= 0]
  rewards = experience.scores.rewards
  scored = np.isfinite(rewards)
  total = np.bincount(groups[scored], rewards[scored], minlength=count)
  number = np.bincount(groups[scored], minlength=count)
  return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _rows(experience: Experience, most: int = 8) -> list[dict[str, Any]]:
  """The first samples of an iteration for the samples table."""
  scores = experience.scores
  return [
    {
      'prompt_id': c.prompt.prompt_id,
      'draw_id': c.draw_id,
      'sample_index': c.sample_index,
      'prompt': c.prompt.text,
      'completion': c.text,
      'truncated': c.truncated,
      'reward': float(reward),
      'components': {k: float(v[i]) for k, v in scores.components.items()},
    }
    for i, (c, reward) in enumerate(zip(experience.completions[:most], scores.rewards))
  ]


def is_hopeless(history: Sequence[dict[str, Any]]) -> str | None:
  """Why nothing can be learnt from these first iterations, or None.

  Args:
    history: metrics of the stage's first iterations.
  """
  if all(m['rollout/truncated'] == 1 for m in history):
    return (
      'every completion was truncated: no stop token was sampled. Raise max_new_tokens, or check '
      'that the model has learnt to end (an SFT stage, a chat template)'
    )
  if all(m['group/zero_variance'] == 1 for m in history):
    mean = history[-1]['reward/mean']
    return (
      f'all samples of every prompt have the same reward (mean {mean:.3g}), so the advantage is 0 '
      f'everywhere. Check the reward function on the samples, or start from a better policy'
    )
  return None
