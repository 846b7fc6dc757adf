"""Methods that combine others over several stages: each config is made of what its paper says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_shaped_methods import in_groups, shaped
from tiny_runs import Stopped, Stopper, run, small_machine, tiny_config

from rljax import assembly, checkpoint, config, files, metrics, prepare
from rljax.stages import make_stage

SMALL = dict(num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32)


@pytest.fixture(scope='module', autouse=True)
def machine(tmp_path_factory):
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    yield


@functools.cache
def world_of(key):
  """What the stages of a method's config share, with a small model and rewards in this process."""
  settings = config.load(str(config.find(f'papers/{key}')))
  models = [settings.model, *(settings[s].get('critic') for s in settings.stages)]
  for model in filter(None, models):
    model.update(SMALL)
  settings.rewards.workers = 0
  return assembly.assemble(config.resolve(settings))


def stage_of(key, name='rl'):
  return make_stage(name, world_of(key))


def drawn(key, name, num):
  """The next prompts of a stage."""
  return stage_of(key, name).curriculum.sample(num)


def equal(one, other):
  return all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))


# -- a reward model in RL -------------------------------------------------------------------------

PAIRS = dict(iterations=2, prompts=4, max_length=8, rows=8, row_length=16)
CRITIC = dict(
  advantage=dict(name='advantages.gae'),
  value=dict(name='losses.clipped_value'),
  critic=dict(name='models.decoder', path='', **SMALL),
)
SCORED = dict(model=dict(name='shaping.model_score', rule=0.5, weight=2.0, shift=0.25))


def with_reward_model(**rl):
  stages = ('reward_model', 'rl')
  return tiny_config(stages=stages, model=SMALL, reward_model=PAIRS, rl={'iterations': 2, **rl})


def test_the_critic_begins_as_the_reward_model_and_leaves_it_alone():
  settings = with_reward_model(critic_start='reward_model', **CRITIC)
  world = assembly.assemble(config.resolve(settings))
  stage = make_stage('rl', world)
  trained = jax.tree.map(lambda x: x + 1, world.params['reward'])
  start = stage.start_params({**world.params, 'reward': trained})
  assert equal(start['value'], trained) and not equal(start['value'], world.params['value'])
  assert start['policy'] is world.params['policy']
  assert all(a is not b for a, b in zip(*map(jax.tree.leaves, (start['value'], trained))))
  plain = make_stage('rl', assembly.assemble(config.resolve(with_reward_model(**CRITIC))))
  assert plain.start_params(world.params)['value'] is world.params['value']


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(critic_start='policy', **CRITIC), "critic_start is 'policy'; it is one of"),
    (dict(critic_start='reward_model'), 'there is no critic of its own'),
    (
      dict(critic_start='reward_model', **{**CRITIC, 'critic': {**CRITIC['critic'], 'd_ff': 48}}),
      'different shapes',
    ),
  ],
)
def test_starts_of_a_critic_that_cannot_be(changes, message):
  world = assembly.assemble(config.resolve(with_reward_model(**changes)))
  with pytest.raises(ValueError, match=message):
    make_stage('rl', world)


@pytest.mark.parametrize(
  'rl', [dict(critic_start='reward_model', **CRITIC), dict(reward_shaping=SCORED)], ids=str
)
def test_a_reward_model_must_be_trained_before_it_is_used(rl):
  settings = {**with_reward_model(**rl), 'stages': ('rl', 'reward_model')}
  with pytest.raises(ValueError, match="no stage of kind 'reward_model' stands before it"):
    make_stage('rl', assembly.assemble(config.resolve(settings)))


def test_scores_of_the_reward_model_are_those_at_the_last_token():
  world = assembly.assemble(config.resolve(with_reward_model(reward_shaping=SCORED)))
  stage = make_stage('rl', world)
  state = stage.init({'policy': world.params['policy']}, jax.random.key(0))
  batch = stage.collect(state, 0).batch
  frozen = {'reward': world.params['reward']}
  found, *_ = prepare.prepare(
    batch, state.params, frozen, stage.hyper(0), objective=stage.objective,
    policies=world.policies, chunk_size=64,
  )  # fmt: skip
  policy, expected = world.policies['reward'], np.array(batch.rewards)
  rows = [np.asarray(x) for x in (batch.tokens, batch.segment_ids, batch.action_mask)]
  for k, m, r in np.ndindex(rows[0].shape[:3]):
    tokens, segments, action = (x[k, m, r] for x in rows)
    for place, sample in enumerate(np.asarray(batch.sample_ids)[k, m, r]):
      own = segments == place
      if sample < 0 or not own.any():
        continue
      ids = jnp.asarray(tokens[own])[None]
      at = jnp.arange(own.sum(), dtype=jnp.int32)[None]
      hidden, _ = policy.hidden(frozen['reward'], ids, segment_ids=0 * at, positions=at)
      score = policy.value(frozen['reward'], hidden)[0, np.flatnonzero(action[own])[-1]]
      expected[sample] = 0.5 * expected[sample] + 2 * (float(score) - 0.25)
  np.testing.assert_allclose(found.rewards, expected, rtol=1e-4, atol=1e-5)


def test_a_stopped_run_goes_on_with_the_reward_model_that_it_trained(tmp_path):
  rl = dict(reward_shaping=SCORED, critic_start='reward_model', **CRITIC)
  settings = dict(stages=('reward_model', 'rl'), model=SMALL, reward_model=PAIRS,
                  rl={'iterations': 2, **rl}, checkpoint_every=1)  # fmt: skip
  writers = dict(writers=('jsonl', 'tiny_runs.Stopper'))
  run(tmp_path / 'whole', **settings, **writers)
  with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
    patch.setattr(Stopper, 'row', 4)
    run(tmp_path / 'stopped', **settings, **writers)
  run(tmp_path / 'stopped', **settings, **writers)
  params = [checkpoint.load_params(tmp_path / name) for name in ('whole', 'stopped')]
  assert equal(*params)
  rewards = [
    [row.get('method/model/reward') for row in metrics.read_metrics(tmp_path / name)]
    for name in ('whole', 'stopped')
  ]
  assert rewards[0] == rewards[1] and len(set(rewards[0][-2:])) == 2
  samples = [files.read_jsonl(tmp_path / name / 'samples.jsonl') for name in ('whole', 'stopped')]
  assert samples[0] == samples[1]


# -- tulu3 ----------------------------------------------------------------------------------------


def test_tulu3_is_sft_dpo_and_ppo_with_a_critic_from_a_reward_model():
  world = world_of('tulu3')
  kinds = [world.config[name].kind for name in world.config.stages]
  assert kinds == ['sft', 'preference', 'reward_model', 'rl']
  assert world.config.preference.loss.length_normalize
  trained = jax.tree.map(lambda x: x + 1, world.params['reward'])
  start = stage_of('tulu3').start_params({**world.params, 'reward': trained})
  assert equal(start['value'], trained)


def test_tulu3_pays_alpha_for_a_verified_answer_and_charges_kl():
  np.testing.assert_array_equal(shaped('papers/tulu3', **in_groups([(1, 3), (0, 3)])), [10, 0])
  terms = stage_of('tulu3').objective
  assert terms.kl_in_reward and terms.hyper(0)['coefficients']['kl'] == 0.05
  assert stage_of('tulu3').needs_reference


def test_tulu3_holds_a_task_out_as_a_whole():
  task = world_of('tulu3').task
  assert {p.metadata['source'] for p in task.train[:200]} == {'dev'}
  assert {p.metadata['source'] for p in task.test[:2]} == {'dev', 'unseen'}
  assert {len(p.answer) for p in task.train[:50]} == {10}
