"""Functions of the user in the places of a stage, and what the stage gives them."""

import random
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rollouts import random_rollout
from tiny_runs import small_machine, tiny_config

from rljax import assembly, binding, config, objective, update
from rljax.data.packing import make_layout, pack
from rljax.models import decoder
from rljax.progress import Progress
from rljax.prompts import Completion
from rljax.rewards import Scores
from rljax.sampling import make_requests
from rljax.stages import make_stage


@pytest.fixture(scope='module', autouse=True)
def machine(tmp_path_factory):
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    yield


class InOrder:
  """A curriculum that knows nothing of seeds."""

  def __init__(self, prompts):
    self.prompts, self.place = prompts, 0

  def sample(self, num):
    self.place += num
    return [self.prompts[i % len(self.prompts)] for i in range(self.place - num, self.place)]

  def update(self, prompt_ids, mean_rewards):
    pass


@pytest.fixture
def parts(monkeypatch):
  module = types.ModuleType('my_parts')

  def sgd(*, learning_rate=0.1):
    return optax.sgd(learning_rate)

  def in_order(prompts):
    return InOrder(prompts)

  def strategy(params, prompts, telescope):
    raise AssertionError

  def sure_tokens(action_mask, entropy):
    return jnp.where(action_mask, jnp.exp(-entropy), 0)

  for function in (sgd, in_order, strategy, sure_tokens):
    setattr(module, function.__name__, function)
  monkeypatch.setitem(sys.modules, 'my_parts', module)


def stage_of(**changes):
  world = assembly.assemble(config.resolve(tiny_config(stages=('rl',), rl=changes)))
  stage = make_stage('rl', world)
  return stage, stage.init({'policy': world.params['policy']}, jax.random.key(0))


def test_an_optimizer_a_curriculum_and_weights_of_the_user(parts):
  stage, state = stage_of(
    optimizer=dict(name='my_parts.sgd'),
    curriculum=dict(name='my_parts.in_order'),
    weights=dict(name='my_parts.sure_tokens'),
  )
  assert [p.prompt_id for p in stage.next_prompts(3)] == [0, 1, 2]
  batch = stage.collect(state, 0).batch
  drawn = np.asarray(batch.action_mask)
  assert np.all(np.asarray(batch.entropy)[drawn] > 0)  # recorded because the weights ask for it
  state, metrics = stage.update(state, {}, batch, stage.hyper(0))
  assert np.isfinite(float(metrics['policy/loss'])) and 'update/lr' not in metrics


def test_a_strategy_that_wants_what_there_is_not_is_refused_at_start(parts):
  with pytest.raises(binding.BindingError, match="'telescope', which does not exist here"):
    stage_of(rollout=dict(name='my_parts.strategy'))


def test_seed_of_the_order_is_no_knob_of_the_curriculum():
  with pytest.raises(config.ConfigError, match="no hyper-parameter 'seed'"):
    config.resolve(tiny_config(rl=dict(curriculum=dict(name='curriculum.uniform', seed=3))))


def test_the_seed_of_the_run_is_that_of_rewards_that_draw():
  def draws(seed):
    world = assembly.assemble(config.resolve(tiny_config(
      stages=('rl',), seed=seed, rewards=dict(reward='test_seams.draws_a_number')
    )))  # fmt: skip
    prompt = world.held_out(0, 1)[0]
    completion = Completion(prompt=prompt, tokens=(1,), text='', truncated=False)
    return world.scorer.score([completion]).rewards[0]

  assert draws(1) == draws(1) != draws(2)


def draws_a_number(completion):
  return random.random()


def test_filters_are_told_of(capsys):
  stage_of(top_k=3, kl_coef=0.1)
  said = capsys.readouterr().out
  assert said.count('top_k in use') == 1 and 'full_reverse_kl is not' in said
  stage_of(kl_coef=0.1)
  assert 'in use' not in capsys.readouterr().out


def test_only_stages_have_schedules():
  schedule = dict(schedule='linear', start=1.0, end=0.5, steps=3)
  config.resolve(tiny_config(rl=dict(temperature=schedule)))
  with pytest.raises(config.ConfigError, match=r'evaluation\.temperature.*no schedule'):
    config.resolve(tiny_config(evaluation=dict(temperature=schedule)))


def test_a_run_that_goes_on_has_its_parameters_once(tmp_path):
  world = assembly.assemble(config.resolve(tiny_config(stages=('rl',), rl=dict(kl_coef=0.1))))
  watch = types.SimpleNamespace(seconds=0.0, peak_mib=0.0)

  def enter(params):
    progress = Progress(tmp_path, keep=1, compiled=watch, memory=watch)
    stage, state, frozen = progress.enter(0, world, params)
    if not progress.resumed:
      progress.save(stage, state)
    progress.checkpointer.close()
    return state, frozen

  first = enter({'policy': jax.tree.map(jnp.copy, world.params['policy'])})
  second = enter(world.params)
  held = [jax.tree.leaves((state.params, frozen)) for state, frozen in (first, second)]
  for a, b in zip(*held):
    np.testing.assert_array_equal(a, b)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(world.params['policy']))


def test_components_that_come_and_go_do_not_change_the_program():
  stage, state = stage_of()
  shapes = []
  for components in ({}, {'length': 1.0}):

    def score(completions, components=components):
      found = {name: np.full(len(completions), x, np.float32) for name, x in components.items()}
      rewards = np.arange(len(completions), dtype=np.float32)
      return Scores(rewards, found, errors=0, timeouts=0, messages={})

    stage.world.scorer = types.SimpleNamespace(score=score)
    shapes.append(jax.tree.structure(stage.collect(state, 0).batch))
  assert shapes[0] == shapes[1]


def test_requests_do_not_wait_for_the_update():
  step = jnp.int32(7)
  given = dict(samples_per_prompt=2, draw_ids=[0], max_prompt=3, max_new_tokens=2, temperature=1.0)
  assert make_requests([[1, 2]], stop_ids=[0], policy_step=step, **given).policy_step is step


def test_groups_are_spread_over_all_minibatches():
  rollout, rewards = random_rollout(0, prompts=5, group=4)
  layout = make_layout(
    samples=20, group_size=4, max_length=20, rows=2, row_length=20, minibatches=4, packed=False
  )
  batch, _ = pack(rollout, rewards, layout)
  assert batch.num_micro.tolist() == [4, 2, 2, 2]


@pytest.mark.thorough
def test_mismatch_is_that_of_the_parameters_that_sampled():
  """And not what the steps before have changed."""
  policy = decoder(vocab_size=13, num_layers=1, d_model=8, num_heads=1, num_kv_heads=1, d_ff=8)
  terms = objective.build(
    dict(
      loss=dict(name='losses.clipped_surrogate'),
      weights=dict(name='weighting.token_mean'),
      advantage=dict(name='advantages.group_normalize'),
      epochs=4,
    )
  )
  optimizers = {'policy': binding.bind(dict(name='optimizers.adamw', learning_rate=0.3))}
  step = jax.jit(update.make_update_step(terms, {'policy': policy}, optimizers, epochs=4))
  params = {'policy': policy.init(jax.random.key(0))}
  state = update.init_train_state(params, optimizers, jax.random.key(1))
  rollout, rewards = random_rollout(0)
  batch, _ = pack(
    rollout, rewards, make_layout(samples=24, group_size=4, max_length=20, rows=8, row_length=40)
  )
  hyper = {**terms.hyper(0), 'optimizer': {'policy': optimizers['policy'].hyper(0)}}
  metrics = step(state, {}, batch, hyper)[1]
  assert metrics['rollout/mismatch_mean'] == metrics['mismatch/abs_mean']
  assert metrics['rollout/mismatch_max'] == metrics['mismatch/abs_max']
  assert metrics['update/lr'] == pytest.approx(0.3)


def test_stages_with_different_critics_are_refused():
  settings = config.load('ppo')
  settings.more = settings.rl.copy_and_resolve_references()
  settings.more.critic = None  # a value head on the policy's trunk
  settings.stages = ('rl', 'more')
  with pytest.raises(ValueError, match='different critics'):
    assembly.assemble(config.resolve(settings))
