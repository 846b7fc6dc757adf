"""Methods whose mechanism is a loss or a divergence: each config does what its paper says."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import batches
from tiny_runs import tiny_config
from tiny_updates import GRPO, make
from tiny_updates import batches as batches_of_updates

from rljax import assembly, config, regularizers, update
from rljax.binding import bind
from rljax.checkpoint import records
from rljax.logprobs import token_statistics
from rljax.stages import make_stage
from rljax.stages.resets import Resets


def stage_of(name, key='rl'):
  return config.load(str(config.find(name)))[key]


def statistics(logits, tokens, names, **options):
  """Of one sample; logits [T, V] of each slot are for the token after it."""
  segments = jnp.zeros((1, len(tokens)), jnp.int32)
  return token_statistics(
    lambda head, hidden: hidden,
    {},
    jnp.asarray(logits, jnp.float32)[None],
    jnp.asarray(tokens, jnp.int32)[None],
    segments,
    temperature=1.0,
    statistics=names,
    **options,
  )


# -- rover ----------------------------------------------------------------------------------------


def test_rover_regresses_on_the_mean_value_of_the_next_state():
  rng = np.random.default_rng(0)
  tokens, reward = [0, 3, 1, 2, 4], 0.7
  new, old = 2 * rng.normal(size=(2, 5, 6))
  names = ('logprobs', 'self_certainty')
  now, before = (statistics(logits, tokens, names) for logits in (new, old))
  bound = bind(stage_of('papers/rover').loss)
  arrays = {
    **now,
    **{f'old_{name}': x for name, x in before.items()},
    'advantages': jnp.full((1, 5), reward),
    'action_mask': jnp.arange(5)[None] > 0,
    'segment_ids': jnp.zeros((1, 5), jnp.int32),
  }
  found = bound(arrays, bound.hyper(0))[0][0]
  gap = np.asarray(jax.nn.log_softmax(new) - jax.nn.log_softmax(old))  # of all actions
  for t in range(1, 5):
    after = gap[t].mean() if t < 4 else 0  # what follows token t is drawn from row t
    expected = (gap[t - 1, tokens[t]] - reward - after) ** 2
    np.testing.assert_allclose(found[t], expected, rtol=1e-4)


def test_rover_centres_rewards_and_does_not_scale_them():
  bound = bind(stage_of('papers/rover').advantage)
  arrays = {'rewards': jnp.array([1.0, 0, 0, 0]), 'group_ids': jnp.zeros(4, jnp.int32)}
  np.testing.assert_allclose(bound(arrays, bound.hyper(0)), [0.75, -0.25, -0.25, -0.25])


# -- siren ----------------------------------------------------------------------------------------


def test_siren_takes_the_most_uncertain_places_of_each_completion():
  node = stage_of('papers/siren').derived.peaks
  bound = bind({**node, 'fraction': 0.5})
  arrays = {
    'old_entropy': jnp.array([[9, 1, 3, 2, 0, 5, 5, 0, 4, 9]], jnp.float32),
    'action_mask': jnp.array([[0, 1, 1, 1, 0, 1, 1, 1, 1, 0]], bool),
    'segment_ids': jnp.array([[0, 0, 0, 0, 1, 1, 1, 1, 1, -1]], jnp.int32),
  }
  found = bound(arrays, bound.hyper(0))
  np.testing.assert_allclose(found, np.array([[0, 0, 1, 1, 0, 1, 1, 0, 0, 0]]) * 7 / 4, rtol=1e-6)
  least = bound({**arrays, 'old_entropy': jnp.zeros((1, 10))}, {'fraction': 0.01})
  np.testing.assert_allclose(least, np.array([[0, 1, 0, 0, 0, 1, 0, 0, 0, 0]]) * 7 / 2)


def test_peaks_of_siren_are_those_of_a_sort():
  batch = batches.packed(3)
  names = ('old_entropy', 'action_mask', 'segment_ids')
  found = np.asarray(regularizers.peak_positions(*(jnp.asarray(batch[n]) for n in names)))
  expected = np.zeros(found.shape)
  for _, places in batches.samples(batch):
    actions = sorted((-batch['old_entropy'][p], p) for p in places if batch['action_mask'][p])
    for _, place in actions[: math.ceil(0.2 * len(actions))]:
      expected[place] = 1
  expected *= batch['action_mask'].sum() / expected.sum()
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_siren_leaves_unlikely_tokens_and_certain_places_alone():
  logits = np.log([[0.5, 0.4, 0.06, 0.04], [0.97, 0.01, 0.01, 0.01], [0.25] * 4])
  table, tokens, node = jnp.asarray(logits), [0, 1, 2], stage_of('papers/siren')
  term, top_p = bind(node.entropy), node.entropy_top_p
  peaks = jnp.array([[0, 3.0, 0]])

  def loss(table):
    found = statistics(table, tokens, ('nucleus_entropy',), top_p=top_p)
    return jnp.sum(term({**found, 'peaks': peaks}, {})[0])

  two = np.array([5, 4]) / 9
  np.testing.assert_allclose(loss(table), 3 * np.sum(two * np.log(two)), rtol=1e-5)
  slope = np.asarray(jax.grad(loss)(table))
  assert slope[0, 0] > 0 > slope[0, 1] and not np.any(slope[0, 2:]) and not np.any(slope[1:])


def test_siren_returns_to_the_entropy_of_the_first_update():
  bound = bind(stage_of('papers/siren').entropy_controller)
  state, found = bound.first_state(), []
  for measured in (np.nan, 0.4, 0.1, np.nan, 0.4, 0.6):
    given = {'measured': jnp.float32(measured), 'num_samples': 8}
    coefficient, state = bound(given, {'beta': 2.0}, state=state)
    found.append(float(coefficient))
  np.testing.assert_allclose(found, [0, 0, 1.2, 0, 0, -0.8], atol=1e-6)


def test_siren_follows_its_own_measure_and_not_the_entropy_of_all_tokens():
  node = stage_of('papers/siren')
  terms = ('entropy', 'entropy_controller', 'derived')
  stage = {**GRPO, **{name: node[name].to_dict() for name in terms}, 'entropy_top_p': 0.5}
  step, state, hyper, frozen = make(stage)
  batch = batches_of_updates(0)
  state, seen = step(state, frozen, batch, hyper(0))
  anchor = float(state.method_state['entropy_controller']['state'])
  assert anchor == float(seen['method/peak_entropy/measured']) != float(seen['policy/entropy'])
  assert float(seen['method/anchored_entropy/entropy_coef']) == 0
  state, _ = step(state, frozen, batch, hyper(1))
  _, seen = step(state, frozen, batch, hyper(2))
  assert float(seen['method/anchored_entropy/entropy_coef']) != 0


# -- rapo_reward_aware ----------------------------------------------------------------------------


def samples_in_rows(rewards, groups):
  """One sample of two tokens in each row, the second one sampled."""
  num = len(rewards)
  return {
    'rewards': jnp.array(rewards, jnp.float32),
    'group_ids': jnp.array(groups, jnp.int32),
    'action_mask': jnp.tile(jnp.array([[False, True]]), (num, 1)),
    'segment_ids': jnp.zeros((num, 2), jnp.int32),
    'sample_ids': jnp.arange(num, dtype=jnp.int32)[:, None],
  }


def test_rapo_reward_aware_weighs_the_reference_by_rewards_within_the_group():
  bound = bind({**stage_of('papers/rapo_reward_aware').derived.reward_weight, 'tau': 0.5})
  given = samples_in_rows([1, 0, 0, 1, 1, np.nan, 1], [0, 0, 0, 1, 1, 0, -1])
  found = bound(given, bound.hyper(0))
  good = 3 * np.exp(2) / (np.exp(2) + 2)
  expected = [good, good / np.exp(2), good / np.exp(2), 1, 1, 0, 0]
  np.testing.assert_allclose(found[:, 1], expected, rtol=1e-6)
  assert not np.any(found[:, 0])


def test_rapo_reward_aware_holds_on_to_all_that_the_reference_does():
  node, tokens = stage_of('papers/rapo_reward_aware'), [0, 0]
  bound, reference = bind(node.kl), jnp.log(jnp.array([[0.6, 0.3, 0.1], [1 / 3] * 3]))
  other = {'reference': (lambda head, hidden: hidden, {}, reference[None])}

  def loss(logits):
    found = statistics(logits, tokens, ('full_forward_kl',), others=other)
    return jnp.sum(bound({**found, 'reward_weight': jnp.array([[0, 2.0]])}, {})[0])

  new = jnp.log(jnp.array([[0.2, 0.3, 0.5], [1 / 3] * 3]))
  # The gradient of KL(q ‖ p) in the logits is p − q, whatever was sampled.
  expected = 2 * np.array([[0.2 - 0.6, 0, 0.5 - 0.1], [0, 0, 0]])
  np.testing.assert_allclose(jax.grad(loss)(new), expected, atol=1e-6)


# -- prorl ----------------------------------------------------------------------------------------


def test_prorl_renews_where_training_stalls():
  rewards = [0.1 * i for i in range(6)] + [0.5] * 6
  due = [regularizers.reward_stalls(rewards[:n], patience=3) for n in range(13)]
  assert due == [False] * 11 + [True] * 2
  assert not regularizers.reward_stalls([0.0, 0.02], patience=1)
  assert regularizers.reward_stalls([0.0, 0.02], patience=1, min_gain=0.05)
  far = [regularizers.kl_exceeds([0.0, 0.3, 0.3][:n], window=2, limit=0.2) for n in range(4)]
  assert far == [False, False, False, True]
  with pytest.raises(ValueError, match='patience=0'):
    regularizers.reward_stalls([0.0], patience=0)
  with pytest.raises(ValueError, match='window=0'):
    regularizers.kl_exceeds([0.0], window=0)


def test_prorl_counts_from_the_last_renewal_also_in_a_later_start():
  node = {'reference_trigger': {'name': 'regularizers.reward_stalls', 'patience': 2}}
  resets, due = Resets('rl', node, has_reference=True), []
  for done in range(1, 11):
    resets.see({'reward/mean': 0.5, 'policy/kl_ref': None})
    due.append(resets.is_due(done))
    saved = resets.state_dict()
    resets = Resets('rl', node, has_reference=True)
    resets.load_state_dict(saved)
  assert [done for done, is_due in enumerate(due, 1) if is_due] == [4, 8]
  with pytest.raises(ValueError, match='looks at reward/mean'):
    resets.see({})
  with pytest.raises(ValueError, match='the stage has none'):
    Resets('rl', node, has_reference=False)
  with pytest.raises(ValueError, match='the reference stays'):
    Resets('rl', {'reference_resets_optimizer': True}, has_reference=True)


@pytest.mark.thorough
def test_prorl_starts_the_optimizer_anew_with_the_reference():
  node = stage_of('papers/prorl')
  terms = ('reference_trigger', 'reference_update', 'reference_resets_optimizer')
  own = {name: node.to_dict()[name] for name in terms}
  own['reference_trigger']['patience'] = 1
  setup = tiny_config(stages=('rl',), rl={'kl_coef': 0.1, **own})
  stage = make_stage('rl', assembly.assemble(config.resolve(setup)))
  state = stage.init({'policy': stage.world.params['policy']}, jax.random.key(0))
  frozen = {'reference': jax.tree.map(jnp.copy, state.params['policy'])}
  collected = stage.collect(state, 0)
  for done, rewards in ((1, 0.2), (2, 0.5), (3, 0.5)):
    state, _ = stage.update(state, frozen, collected.batch, stage.hyper(0))
    state, reference = stage.renew(state, frozen, done, {'reward/mean': rewards})
    assert (reference is None) == (done < 3)
  jax.tree.map(np.testing.assert_array_equal, reference, state.params['policy'])
  fresh = update.first_moments(state.params, stage.optimizers)
  jax.tree.map(np.testing.assert_array_equal, state.opt_state, fresh)
  assert int(state.step) == 3


# -- ddro -----------------------------------------------------------------------------------------


def test_ddro_prefers_the_relevant_of_two_documents_of_the_prompt():
  settings = config.load(str(config.find('papers/ddro')))
  task, bound = bind(settings.task)({}), bind(settings.preference.loss)
  for prompt in task.train[:3]:
    pairs = dict(pair.split(':') for pair in prompt.text[:35].split(','))
    found = task.candidates(prompt, 4)
    assert found[0] == (pairs[prompt.text[36:38]], 1.0) and task.candidates(prompt, 4) == found
    assert {name for name, _ in found} == set(pairs.values()) and len(found) == len(pairs)
    assert {utility for _, utility in found[1:]} == {0.0}
    assert task.candidates(prompt, 5) != found
  zeros = jnp.zeros(2)
  groups, utility = jnp.zeros(2, jnp.int32), jnp.array([1.0, 0])

  def loss(logprobs):
    arrays = {
      'sequence_logprobs': logprobs,
      'sequence_ref_logprobs': zeros,
      'rewards': utility,
      'group_ids': groups,
    }
    return jnp.sum(bound(arrays, bound.hyper(0))[0])

  np.testing.assert_allclose(jax.grad(loss)(zeros), [-0.05, 0.05])
  longer = bind({'name': 'tasks.lookup', 'chain': 2, 'num_pairs': 6})({})
  ends = longer.candidates(longer.train[0], 0)
  assert ends[0][0] == longer.train[0].answer and len(ends) == 3


# -- image_styling_offline_rl ---------------------------------------------------------------------


def test_image_styling_offline_rl_weighs_the_likelihood_of_given_completions():
  settings = config.load(str(config.find('papers/image_styling_offline_rl')))
  node = settings.preference.to_dict()
  assert settings.stages == ('sft', 'preference')  # and nothing is sampled
  utility, groups = np.array([1, 0.5, 0, 0.9]), jnp.array([0, 0, 1, 1], jnp.int32)
  standard = (utility - utility.mean()) / utility.std(ddof=1)
  exponential = {'name': 'advantages.exponential_weights', 'temperature': 0.5}
  raw = {**node['advantage'], 'center': 'none', 'scale': 'none'}
  for advantage, expected in (
    (node['advantage'], standard),
    (raw, utility),
    (exponential, np.exp(2 * (utility - utility.mean()))),
  ):
    bound = bind(advantage)
    given = {'rewards': jnp.asarray(utility, jnp.float32), 'group_ids': groups}
    weights = bound(given, bound.hyper(0))
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6)
    tokens = jnp.broadcast_to(weights[:, None], (4, 3))
    given, loss = {'logprobs': -jnp.ones((4, 3)), 'advantages': tokens}, bind(node['loss'])
    np.testing.assert_allclose(loss(given, {})[0], tokens, rtol=1e-6)


@pytest.mark.thorough
def test_image_styling_offline_rl_learns_from_scored_data_without_sampling():
  node = stage_of('papers/image_styling_offline_rl', 'preference').to_dict()
  own = {name: node[name] for name in ('advantage', 'loss', 'weights')}
  setup = tiny_config(stages=('preference',), preference={'max_length': 8, 'rows': 64, **own})
  stage = make_stage('preference', assembly.assemble(config.resolve(setup)))
  state = stage.init({'policy': stage.world.params['policy']}, jax.random.key(0))
  batch = stage.collect(state, 0).batch
  _, seen = stage.update(state, {}, batch, stage.hyper(0))
  assert not stage.samples and float(seen['update/grad_norm']) > 0


# -- dph_rl ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['forward_kl', 'jensen_shannon', 'alpha'])
def test_dph_rl_is_the_divergence_in_expectation_over_the_start(kind):
  bound = bind({**stage_of('papers/dph_rl').auxiliary, 'kind': kind})
  start = jax.nn.log_softmax(jnp.array([0.3, -1.0, 0.8, 0.1]))
  places = jnp.zeros((1, 4), jnp.int32), jnp.zeros((1, 1), jnp.int32)

  def expected(logits, external):
    names = ('logprobs', 'policy_logprobs', 'is_external', 'segment_ids', 'sample_ids')
    values = (jax.nn.log_softmax(logits)[None], start[None], jnp.array([external]), *places)
    return jnp.sum(jnp.exp(start) * bound(dict(zip(names, values)), bound.hyper(0))[0][0])

  new = jnp.array([1.0, 0.2, -0.7, 0.0])
  p, q = np.asarray(jax.nn.softmax(new)), np.exp(np.asarray(start))
  middle = (p + q) / 2
  exact = {
    'forward_kl': np.sum(q * np.log(q / p)),
    'jensen_shannon': np.sum(p * np.log(p / middle) + q * np.log(q / middle)) / 2,
    'alpha': 4 * (1 - np.sum(np.sqrt(p * q))),
  }
  np.testing.assert_allclose(expected(new, True), exact[kind], rtol=1e-5)
  np.testing.assert_allclose(jax.grad(expected)(start, True), np.zeros(4), atol=1e-6)
  assert expected(new, False) == 0


@pytest.mark.thorough
def test_dph_rl_rehearses_what_the_start_solved():
  node = stage_of('papers/dph_rl').to_dict()
  own = {n: node[n] for n in ('kind', 'auxiliary', 'auxiliary_coef', 'selections', 'pool_share')}
  given = {**own, 'pool_prompts': 8, 'pool_solved': 0.0, 'pool_share': 0.5, 'samples': 2}
  setup = tiny_config(stages=('rl',), rl=given)
  world = assembly.assemble(config.resolve(setup))
  stage = make_stage('rl', world)
  state = stage.init({'policy': world.params['policy']}, jax.random.key(0))
  collected = stage.collect(state, 0)
  batch, first = jax.device_get(collected.batch), stage.state_dict()
  external = batch.is_external & (batch.group_ids >= 0)
  assert external.sum() == 4 and (~batch.is_external & (batch.group_ids >= 0)).sum() == 4
  assert collected.metrics['method/rehearsal/pool'] == 16
  assert collected.metrics['rollout/samples'] == 16 + 4  # the pool is drawn in the first iteration
  solved = set(first['solved'])
  assert set(batch.prompt_ids[external]) <= solved
  assert not set(batch.prompt_ids[~batch.is_external]) & solved - {0}
  state, seen = stage.update(state, {}, collected.batch, stage.hyper(0))
  assert 0 < float(seen['method/rehearsal/external']) < 1
  assert float(seen['rollout/mismatch_max']) < 1e-4

  later = make_stage('rl', world, draws=stage.draws)
  later.load_state_dict(records.decode(records.encode(first)))
  later.init({'policy': state.params['policy']}, jax.random.key(0))
  one, other = (s.collect(state, 1) for s in (stage, later))
  jax.tree.map(np.testing.assert_array_equal, one.batch, other.batch)
  assert one.metrics['rollout/samples'] == 4
  assert one.metrics['rollout/tokens'] < one.batch.action_mask.sum()
