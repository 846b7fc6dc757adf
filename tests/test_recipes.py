"""Methods that combine others over several stages: each config is made of what its paper says."""

import functools
import itertools
import math
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_rewarded_methods import score
from test_shaped_methods import in_groups, shaped
from tiny_runs import Stopped, Stopper, run, small_machine, tiny_config

from rljax import assembly, checkpoint, config, files, metrics, prepare, tasks
from rljax.rewards import Scores
from rljax.rewards.forms import forms
from rljax.rewards.table_overlap import table_overlap
from rljax.rollouts import entropy_temperature
from rljax.rollouts.measures import experience_metrics
from rljax.stages import make_stage
from rljax.tasks.causes import LEVELS

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


def sources(key, name, num=40):
  return {p.metadata['source'] for p in drawn(key, name, num)}


def settings_of(key):
  return config.load(str(config.find(f'papers/{key}')))


def reward_of(key):
  return settings_of(key).rewards.reward.to_dict()


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


@pytest.mark.thorough
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


@pytest.mark.slow
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


# -- apriel_reasoner ------------------------------------------------------------------------------


def test_apriel_reasoner_draws_more_of_a_domain_that_teaches_less_often():
  stage = stage_of('apriel_reasoner')
  trained = dict.fromkeys(stage.curriculum.probabilities(), 0)
  assert set(stage.curriculum.probabilities().values()) == {0.2}
  for iteration in range(16):
    prompts = stage.curriculum.sample(40)
    names = [p.metadata['source'] for p in prompts]
    solved = [name == 'logic' and i % 3 > 0 for i, name in enumerate(names)]
    stage.curriculum.update([p.prompt_id for p in prompts], [1.0 if s else 0.5 for s in solved])
    for name, is_solved in zip(names, solved):
      trained[name] += iteration >= 4 and not is_solved
  shares = stage.curriculum.probabilities()
  assert shares['logic'] > 2 * shares['math']
  assert trained['logic'] / sum(trained.values()) == pytest.approx(0.2, abs=0.04)


def test_apriel_reasoner_charges_for_length_by_the_pass_rate():
  found = shaped('papers/apriel_reasoner', **in_groups([(1, 10), (1, 10)], [(1, 10), (0, 10)]))
  assert 1 > found[2] > found[0]


# -- acereason_nemotron ---------------------------------------------------------------------------


def test_acereason_nemotron_learns_mathematics_then_code_on_fresh_samples():
  key, node = 'acereason_nemotron', world_of('acereason_nemotron').config
  assert node.stages == ('sft', 'math', 'math_longer', 'rl')
  found = [sources(key, name) for name in node.stages]
  assert found[1:] == [{'math'}, {'math_hard'}, {'code'}] and len(found[0]) == 3
  assert node.math.max_new_tokens < node.math_longer.max_new_tokens
  for name in node.stages[1:]:
    stage = stage_of(key, name)
    assert stage.steps_per_iteration == 1 and stage.objective.on_policy
    assert not stage.needs_reference and stage.objective.weights.name == 'token_mean'


# -- acereason_nemotron_1_1 -----------------------------------------------------------------------


def test_the_temperature_follows_the_entropy():
  assert entropy_temperature(1.0, 0.3) == 1.0
  assert entropy_temperature(1.0, 0.1) == pytest.approx(math.exp(0.1))
  assert entropy_temperature(1.0, 0.5, rate=1.0) == pytest.approx(math.exp(-0.2))
  assert entropy_temperature(1.0, 9.0, low=0.6) == 0.6
  assert entropy_temperature(1.4, -9.0) == 1.5
  assert entropy_temperature(0.7, math.nan) == 0.7
  with pytest.raises(ValueError, match=r'low=0\.0'):
    entropy_temperature(1.0, 0.3, low=0.0)


@pytest.mark.slow
def test_acereason_nemotron_1_1_samples_at_the_temperature_that_it_chose(tmp_path):
  node = settings_of('acereason_nemotron_1_1').rl.temperature_controller.to_dict()
  rl = dict(iterations=3, temperature=0.8, temperature_controller=node)
  changes = dict(stages=('rl',), rl=rl, checkpoint_every=1)
  changes['writers'] = ('jsonl', 'tiny_runs.Stopper')
  run(tmp_path / 'w', **changes)
  rows = metrics.read_metrics(tmp_path / 'w')[1:]
  seen = [(row['rollout/temperature'], row['rollout/entropy']) for row in rows]
  assert seen[0][0] == 0.8 and seen[0][1] > 0.5
  for (temperature, entropy), (chosen, _) in itertools.pairwise(seen):
    assert chosen == pytest.approx(entropy_temperature(temperature, entropy))
    assert chosen < temperature
  with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
    patch.setattr(Stopper, 'row', 2)
    run(tmp_path / 'stopped', **changes)
  run(tmp_path / 'stopped', **changes)
  again = [r['rollout/temperature'] for r in metrics.read_metrics(tmp_path / 'stopped')[1:]]
  assert again == [temperature for temperature, _ in seen]


def test_acereason_nemotron_1_1_learns_nothing_from_what_was_cut():
  for name in ('math', 'math_longer', 'rl'):
    stage = stage_of('acereason_nemotron_1_1', name)
    arrays = {'truncated': jnp.array([True, False]), 'group_ids': jnp.zeros(2, jnp.int32)}
    kept, _ = stage.objective.selections['overlong'](arrays)
    assert kept.tolist() == [False, True]
    assert stage.node.temperature_controller.target == 0.3


# -- one_shot_rlvr --------------------------------------------------------------------------------


def test_one_shot_rlvr_draws_one_prompt_in_rl_alone():
  assert len({p.prompt_id for p in drawn('one_shot_rlvr', 'rl', 64)}) == 1
  assert len({p.prompt_id for p in drawn('one_shot_rlvr', 'sft', 64)}) == 64
  assert stage_of('one_shot_rlvr').objective.hyper(0)['coefficients']['entropy'] > 0


# -- simplerl_zoo ---------------------------------------------------------------------------------


def test_simplerl_zoo_draws_the_tier_that_fits_and_pays_nothing_for_form():
  world = world_of('simplerl_zoo')
  assert sources('simplerl_zoo', 'rl') == {'medium'}
  tests = {p.metadata['source']: p for p in world.task.test[:3]}
  assert set(tests) == {'easy', 'medium', 'hard'}
  assert world.scorer is world.judge
  prompt = tests['medium']
  asked = {'text': prompt.text, 'answer': prompt.answer, 'metadata': prompt.metadata}
  form = '1+1=3,3+3=7'
  assert world.task.well_formed is None and tasks.steps.well_formed(form)
  assert score(world.task.reward, form, **asked)[0] == 0
  assert score(world.task.reward, world.task.demonstrate(prompt), **asked)[0] == 1


def test_the_length_of_what_ended_leaves_out_what_was_cut():
  rollout = SimpleNamespace(
    group_ids=np.array([0, 0, 1, -1]),
    num_tokens=np.array([5, 7, 14, 9]),
    prompt_length=np.full(4, 2),
    truncated=np.array([False, False, True, False]),
    action_mask=np.ones((4, 14), bool),
  )
  scores = Scores(np.array([1.0, 0.0, 0.0], np.float32), {}, 0, 0, {})
  every = np.ones(3, bool)
  experience = SimpleNamespace(rollout=rollout, scores=scores, is_own=every, is_here=every)
  found = experience_metrics(experience)
  assert found['rollout/length_stopped'] == 4 and found['rollout/length_mean'] == 20 / 3
  rollout.truncated[:] = True
  found = experience_metrics(experience)
  assert 'rollout/length_stopped' not in found


# -- vd_post_training_study -----------------------------------------------------------------------


def test_vd_post_training_study_pays_half_for_a_verdict_for_the_wrong_reasons():
  node = reward_of('vd_post_training_study')
  found = [score(node, text, 6)[0] for text in ('1+2=3,3+3=6', '1+2=4,3+3=6', '1+2=3,3+3=7', '6')]
  assert found == [1, 0.5, 0, 0]


def test_vd_post_training_study_imitates_its_right_verdicts_alone():
  world = world_of('vd_post_training_study')
  assert world.config.stages == ('sft', 'rejection', 'preference', 'rl')
  loss, one = stage_of('vd_post_training_study', 'rejection').objective.loss, jnp.ones((3, 1))
  ids = jnp.arange(3, dtype=jnp.int32)
  arrays = {
    'logprobs': -2 * one,
    'rewards': jnp.array([1.0, 0.5, 0.0]),
    'group_ids': ids,
    'segment_ids': jnp.zeros((3, 1), jnp.int32),
    'sample_ids': ids[:, None],
  }
  found, _ = loss(arrays, loss.hyper(0))
  np.testing.assert_array_equal(found[:, 0], [2, 2, 0])
  filters = world.config.rl.rollout
  assert filters.low == 0 and filters.high > 1 and filters.keep == 'band'


def test_candidates_of_arithmetic_are_right_lucky_and_wrong():
  task = tasks.arithmetic()
  for place in range(20):
    prompt = task.train[place]
    found = task.candidates(prompt, place)
    assert found == task.candidates(prompt, place)
    for text, utility in found:
      ends = int(text.rpartition('=')[2]) == prompt.answer
      sound = score('tasks.steps.sound', text)[0]
      assert (ends, sound) == {1.0: (True, 1), 0.5: (True, 0), 0.0: (False, 0)}[utility]
    assert sorted(utility for _, utility in found) == [0, 0.5, 1]
  orders = {tuple(u for _, u in task.candidates(task.train[0], draw)) for draw in range(20)}
  assert len(orders) > 3
  small = tasks.arithmetic(num_operands=2)
  assert len(small.candidates(small.train[0], 0)) == 2


# -- rank_r1 --------------------------------------------------------------------------------------


def test_rank_r1_pays_for_form_and_choice_whatever_the_reasons():
  node = reward_of('rank_r1')
  texts = ('b8,k9,q10>q', 'b1>q', '>q', 'q', 'b8,k9,q10>k', 'b8>q>q', 'b8,k9,q10>qk')
  assert [score(node, text, 'q')[0] for text in texts] == [1, 1, 0, 0, 0, 0, 0]
  assert score(node, 'b8,k9,q10>k', 'q')[1] == {'format': 1}
  world = world_of('rank_r1')
  prompt, scores = world.task.train[0], world.task.train[0].metadata['scores']
  assert prompt.answer == max(scores, key=scores.get)
  assert world.task.well_formed(world.task.demonstrate(prompt))


# -- think2sql ------------------------------------------------------------------------------------


def test_think2sql_grades_a_query_by_cells_and_rows():
  node = reward_of('think2sql')
  rows = "INSERT INTO a VALUES (1, 'p'), (2, 'p'), (3, 'q');"
  asked = {'metadata': {'schema': 'CREATE TABLE a (n INTEGER, k TEXT);', 'rows': (rows,)}}
  right = 'SELECT n, k FROM a WHERE n < 3'  # 1 p, 2 p

  def graded(query):
    reward, parts = score(node, query, right, **asked)
    return reward, [parts[n] for n in ('cell_precision', 'cell_recall', 'cardinality')]

  assert graded(right) == (1, [1, 1, 1])
  assert graded('SELECT n FROM a WHERE n < 3') == (pytest.approx(2.5 / 6), [1, 0.5, 1])
  reward, parts = graded('SELECT n, k FROM a')
  assert parts == pytest.approx([2 / 3, 1, 2 / 3]) and reward == pytest.approx(7 / 18)
  assert graded('SELECT n FROM a WHERE n > 9') == (0, [0, 0, 0])
  assert graded('SELEC n') == (0, [0, 0, 0])
  with pytest.raises(ValueError, match='weight between 0 and 1'):
    table_overlap(right, right, asked['metadata'], accuracy=2.0)


# -- rlvr_causal ----------------------------------------------------------------------------------


def counted(text):
  """The percentage that a prompt of causes asks for, by counting over all noises."""
  z, x, y0, y1 = (
    [int(n) for n in part.split(',')]
    for part in re.match('z=(.*) x=(.*) y=(.*)/(.*)[?]', text).groups()
  )
  asked, total, hits = text.rpartition('?')[2][:-1], 0, 0
  noise = np.arange(0, 100, 10)
  for share, p, low, high in zip(z, x, y0, y1):
    for u, v in itertools.product(noise, noise):
      seen = u < p
      without, with_x = v < low, v < high
      if asked == 'y|x' and not seen:
        continue
      if asked == 'yx|!x!y' and (seen or without):
        continue
      total += share
      hits += share * with_x
  return 100 * hits / total


def test_rlvr_causal_asks_for_what_is_seen_made_and_imagined():
  for level, size in itertools.product(LEVELS, (2, 3)):
    task = tasks.causes(level=level, num_values=size)
    for prompt in (task.train[i] for i in range(12)):
      assert prompt.answer == pytest.approx(counted(prompt.text))
      text = task.demonstrate(prompt)
      answer = round(prompt.answer)
      judged = [text, str(answer), str(answer + 4), f'x{answer}']
      found = [score(task.reward, said, prompt.answer)[0] for said in judged]
      assert found == [1, 1, 0, 0]
  with pytest.raises(ValueError, match="level='dreams'"):
    tasks.causes(level='dreams')


def test_rlvr_causal_trains_at_one_level_and_measures_all():
  task = world_of('rlvr_causal').task
  assert {p.metadata['source'] for p in task.train[:60]} == {'association_2'}
  held_out = {p.metadata['source'] for p in task.test[:6]}
  assert held_out == {f'{level}_{size}' for level in LEVELS for size in (2, 3)}


# -- wingpt_3_0 -----------------------------------------------------------------------------------


def test_wingpt_3_0_narrows_its_domain_and_adds_a_reward_model_to_the_rule():
  key = 'wingpt_3_0'
  found = [sources(key, name) for name in ('sft', 'medical', 'clinical')]
  assert found == [{'general'}, {'medical'}, {'clinical'}]
  assert len(sources(key, 'rl')) == 3
  arrays = {'rewards': jnp.array([1.0, 0.0]), 'reward_scores': jnp.array([0.5, 2.0])}
  np.testing.assert_allclose(shaped(f'papers/{key}', **arrays), [1.1, 0.4], rtol=1e-6)


# -- echo_chamber ---------------------------------------------------------------------------------


def test_echo_chamber_starts_from_two_forms_and_counts_them():
  task = world_of('echo_chamber').task
  said = [task.demonstrate(p) for p in task.train[:200]]
  assert 70 < sum('=' in text for text in said) < 130
  node = reward_of('echo_chamber')
  found = [score(node, text, 6) for text in ('1+5=6', '6', '7', '6!')]
  assert [reward for reward, _ in found] == [1, 1, 0, 0]
  assert [[n for n in ('steps', 'direct', 'other') if parts[n]] for _, parts in found] == [
    ['steps'], ['direct'], ['direct'], ['other']
  ]  # fmt: skip
  assert sources('echo_chamber', 'rl') == {'easy'} and len(sources('echo_chamber', 'sft')) == 2


@pytest.mark.parametrize('patterns', [{}, {'other': 'a'}, {'a': '('}], ids=str)
def test_forms_that_cannot_be(patterns):
  with pytest.raises(ValueError, match='forms: '):
    forms(reward=lambda completion: 1.0, patterns=patterns, completion='a')


# -- multi_domain_rlvr_study ----------------------------------------------------------------------


def test_multi_domain_rlvr_study_goes_from_easy_to_hard_with_partial_credit():
  key = 'multi_domain_rlvr_study'
  domains = {'math', 'code', 'puzzle'}
  assert sources(key, 'easy') == {f'{name}_easy' for name in domains}
  assert sources(key, 'rl') == domains
  for name in ('easy', 'rl'):
    stage = stage_of(key, name)
    assert stage.needs_reference and stage.node.reference_every == 0  # a new one for each stage
  node = reward_of(key)
  halves = [score(node, 'ab', 'abcd', metadata={'source': s})[0] for s in ('code', 'puzzle')]
  assert halves == [0.5, 0.5]
  assert [score(node, t, 6, metadata={'source': 'math'})[0] for t in ('1+5=6', '1+5=7')] == [1, 0]


# -- grlo -----------------------------------------------------------------------------------------


def test_grlo_learns_from_a_reward_model_first_and_from_verified_answers_last():
  world = world_of('grlo')
  assert world.config.stages == ('sft', 'reward_model', 'open', 'rl')
  found = [sources('grlo', name) for name in ('reward_model', 'open', 'rl')]
  assert found == [{'open'}, {'open'}, {'closed'}]
  terms = stage_of('grlo', 'open').objective
  assert 'reward' in terms.frozen_roles
  bound = terms.reward_shaping['preference']
  arrays = {'rewards': jnp.array([1.0, 0.0]), 'reward_scores': jnp.array([-0.5, 0.5])}
  np.testing.assert_array_equal(bound(arrays, bound.hyper(0)), [-0.5, 0.5])
  assert not stage_of('grlo').objective.reward_shaping
