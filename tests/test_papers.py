"""Every paper's config against its baseline, on the same prompts and the same samples: what its
METHOD names does differ, and what comes before the update is the same unless it is that."""

import jax
import numpy as np
import pytest
import tiny_updates
from rollouts import random_rollout
from test_presets import outline

from rljax import assembly, config, methods
from rljax.prompts import Completion
from rljax.stages import make_stage

THERE = [method for method in methods.methods() if method.stage]
# Of a stage's node: what is asked of the sampler, or of the data.
REQUESTS = ('kind', 'rollout', 'prompts', 'samples', 'temperature', 'top_k', 'top_p', 'min_p',
            'max_prompt', 'max_new_tokens', 'candidates', 'labels', 'max_staleness')  # fmt: skip
SIZES = ('iterations', 'max_length', 'max_prompt', 'max_new_tokens', 'rows', 'row_length', 'packed')
# Extras [N, T]; the others are [N].
OF_TOKENS = (
  'turn_ids', 'step_ids', 'potential_gains', 'idle_steps', 'reference_mask', 'feedback_mask',
)  # fmt: skip


def load(name):
  settings = config.load(str(config.find(name)))
  settings.rewards.workers = 0
  return settings


def differing_stage(own, baseline):
  """The first stage of a config that is not the baseline's, or its last one."""
  for name in own['stages']:
    if name not in baseline['stages'] or any(
      value != baseline[name].get(key) for key, value in own[name].items() if key not in SIZES
    ):
      return name
  return own['stages'][-1]


def world_of(settings, monkeypatch):
  monkeypatch.setattr(assembly, 'build_model', outline)
  return assembly.assemble(settings)


def completions(world, prompts):
  """A demonstration of each prompt, parts of it, more than it, and nothing: as one group."""
  for i, prompt in enumerate(prompts):
    said = world.task.demonstrate(prompt)
    said = said if isinstance(said, str) else ''.join(text for text, is_said in said if is_said)
    parts = (said[: len(said) // 2], said[::-1], '')
    for j, text in enumerate((said, f'{said[:1]}{said}', *parts)):
      yield Completion(
        prompt=prompt, tokens=tuple(world.tokenizer.encode(text)), text=text,
        truncated=j == 2, draw_id=i, sample_index=j,
      )  # fmt: skip


def same(a, b):
  def close(x, y):
    return x.shape == y.shape and np.allclose(x, y, rtol=1e-5, atol=1e-7, equal_nan=True)

  return jax.tree.all(jax.tree.map(close, a, b))


class Update:
  """The update of a stage's node on a fixed batch of random samples, part by part."""

  def __init__(self, node, extras, components):
    node = dict(node, extras=tuple(extras), reward_components=tuple(components))
    self.prepare, self.gradient, self.params = tiny_updates.programs(node, dtype='float32')
    rollout, rewards = random_rollout(seed=3)
    # Every third says one token all the time.
    loops = np.arange(len(rewards))[:, None] % 3 == 0
    rollout = rollout.replace(tokens=np.where(rollout.action_mask & loops, 5, rollout.tokens))
    rng = np.random.default_rng(0)
    scored = {name: rng.uniform(size=len(rewards)).astype(np.float32) for name in components}
    if 'sources' in (node.get('advantage') or {}):
      # A sample has the component of its own task alone.
      for i, name in enumerate(components):
        scored[name][np.arange(len(rewards)) % len(components) != i] = np.nan
    made = {
      name: rng.integers(0, 2, rollout.tokens.shape if name in OF_TOKENS else len(rewards))
      for name in extras
    }
    sizes = dict(rows=64, row_length=20, packed=False)
    batch = tiny_updates.packed_batch(
      rollout, rewards, extras=made, components=scored, dtype='float32', **sizes
    )
    self.batch = self.prepare(self.params, batch)

  def stepped(self):
    """(policy's part of the loss, gradient) at parameters that have moved on."""
    keys = iter(jax.random.split(jax.random.key(7), 1000))
    moved = jax.tree.map(lambda x: x + 0.02 * jax.random.normal(next(keys), x.shape), self.params)
    grads, seen = self.gradient(moved, self.batch)
    return seen['policy/loss'], grads


def on_task_of(settings, other):
  """A config on the task of another one."""
  for name in ('task', 'tokenizer', 'environment'):
    settings[name] = other[name]
  return settings


def differs(method, monkeypatch):
  """Whether what a method names is another than its baseline's."""
  own, other = (load(f'papers/{method.key}'), load(method.baseline))
  if method.differs != 'prompts':
    on_task_of(other, own)
  own, other = (config.resolve(settings) for settings in (own, other))
  name = differing_stage(*(config.plain(x) for x in (own, other)))
  its = name if name in other.stages else other.stages[-1]
  node, old = (config.plain(x[s]) for x, s in ((own, name), (other, its)))
  if method.differs == 'prompts':
    drawn = (prompts_of(world_of(x, monkeypatch), s) for x, s in ((own, name), (other, its)))
    ours, theirs = ([p.tokens for p in prompts] for prompts in drawn)
    return ours != theirs
  if method.differs == 'requests':
    return own.environment != other.environment or any(
      node.get(n) != old.get(n) for n in REQUESTS
    )
  if method.differs == 'rewards' and node.get('rollout') != old.get('rollout'):
    return True  # a strategy that scores, which is tested with it
  if method.differs == 'rewards' and own.rewards != other.rewards:
    worlds = [world_of(x, monkeypatch) for x in (own, other)]
    fixed = list(completions(worlds[1], prompts_of(worlds[1], its)))
    if not same(*(world.scorer.score(fixed).rewards for world in worlds)):
      return True
  if method.differs == 'schedule':
    return {**node, 'loss': None} != {**old, 'loss': None} or own.stages != other.stages
  return differs_in_the_update(method.differs, node, old)


def prompts_of(world, stage):
  stage = make_stage(stage, world)
  return stage.next_prompts(stage.node.prompts)


def differs_in_the_update(what, node, old):
  names = [
    sorted({*node.get(kind, ()), *old.get(kind, ())}) for kind in ('extras', 'reward_components')
  ]
  ours, theirs = (Update(stage, *names) for stage in (node, old))
  if what in ('rewards', 'advantages'):
    made = [getattr(u.batch, what) for u in (ours, theirs)]
    return any(x is None for x in made) or not same(*made)
  weights = [u.batch.weights['policy'] for u in (ours, theirs)]
  if what == 'weights':
    return weights[0].shape != weights[1].shape or not same(*weights)
  (loss, gradient), (old_loss, old_gradient) = ours.stepped(), theirs.stepped()
  if what == 'token loss':
    return not same(loss, old_loss)
  return not same(gradient, old_gradient)


@pytest.mark.parametrize('method', THERE, ids=lambda m: m.key)
def test_what_differs_from_the_baseline(method, monkeypatch):
  assert differs(method, monkeypatch), f'{method.differs}: the same as in {method.baseline}'
