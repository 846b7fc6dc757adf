"""Methods whose mechanism is a shaped reward: each config does what its paper says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.shaping import samples
from reference import batches
from reference import shaping as reference
from reference import token_advantages as token_reference
from test_token_advantages import token_batch

from rljax import config, shaping
from rljax.advantages import refined_step_returns
from rljax.binding import bind


def shaped(name, iteration=0, **arrays):
  """Rewards after the whole `reward_shaping` of a config, in its first update."""
  nodes = config.load(str(config.find(name))).rl.reward_shaping
  for key in sorted(nodes):
    bound = bind(nodes[key])
    state = {} if bound.init is None else {'state': bound.first_state()}
    found = bound(arrays, bound.hyper(iteration), **state)
    arrays['rewards'] = found[0] if state else found
  return np.asarray(arrays['rewards'])


def in_groups(*rows):
  """Arrays of groups given as rows of (reward, length)."""
  flat = [(*pair, g) for g, row in enumerate(rows) for pair in row]
  rewards, lengths, groups = zip(*flat, strict=True)
  return {
    'rewards': jnp.array(rewards, jnp.float32),
    'completion_length': jnp.array(lengths, jnp.float32),
    'group_ids': jnp.array(groups, jnp.int32),
  }


# -- laser ----------------------------------------------------------------------------------------


def test_laser_pays_right_answers_within_the_length_of_their_difficulty():
  easy, hard = [(1, 3), (1, 5), (1, 9), (0, 3)], [(1, 9), (0, 3), (0, 3), (0, 11)]
  found = shaped('papers/laser', **in_groups(easy, hard))
  np.testing.assert_allclose(found, [1.5, 1, 1, 0, 1.5, 0, 0, 0])


def test_targets_of_laser_are_those_of_the_formula():
  for seed in range(3, 9):
    batch = samples(seed)
    names = ('rewards', 'group_ids', 'completion_length')
    arrays, given = [jnp.asarray(batch[n]) for n in names], [batch[n] for n in names]
    for needed in (0.5, 1.0, 2.0):
      hyper = {'max_length': 7.0, 'needed': needed}
      first = shaping.adaptive_step_bonus_init(max_length=20.0)
      found, state = shaping.adaptive_step_bonus(*arrays, state=first, **hyper)
      expected = reference.adaptive_targets(*given, **hyper)
      expected = [20.0 if target is None else target for target in expected]
      np.testing.assert_array_equal(state['targets'], expected)
      unused = (batch['group_ids'] < 0) | ~np.isfinite(batch['rewards'])
      np.testing.assert_array_equal(found[unused], arrays[0].astype(jnp.float32)[unused])


def test_targets_of_laser_stay_between_estimates():
  batch = in_groups([(1, 3), (1, 5)], [(0, 4), (0, 4)])
  later = {**batch, 'completion_length': batch['completion_length'] + 3}
  state, targets = shaping.adaptive_step_bonus_init(max_length=9.0), []
  step = jax.jit(lambda b, s: shaping.adaptive_step_bonus(**b, state=s, max_length=9.0, every=2))
  for each in (batch, later, later):
    _, state = step(each, state)
    targets.append(state['targets'].tolist())
  assert targets == [[3, 9, 9], [3, 9, 9], [6, 9, 9]]
  with pytest.raises(ValueError, match='every 0'):
    shaping.adaptive_step_bonus(**batch, state=state, every=0)


def test_wrong_answers_beyond_the_target_may_be_paid_too():
  rewards, lengths = jnp.array([1.0, 1.0, 0.0, 0.0]), jnp.array([4.0, 5.0, 4.0, 5.0])
  found = shaping.step_bonus(rewards, lengths, target=4.0, explore=0.25)
  np.testing.assert_allclose(found, [1.5, 1, 0, 0.25])


# -- dler -----------------------------------------------------------------------------------------


def test_dler_pays_nothing_beyond_a_limit_that_easy_prompts_reach_sooner():
  easy, hard = [(1, 11), (1, 12)], [(1, 12), (0, 3), (0, 3), (0, 3), (0, 3), (0, 3)]
  batch = in_groups(easy, hard)
  cut = jnp.zeros(8, bool).at[0].set(True)
  found = shaped('papers/dler', truncated=jnp.zeros(8, bool), **batch)
  np.testing.assert_array_equal(found, [1, 0, 0, 0, 0, 0, 0, 0])
  np.testing.assert_array_equal(shaped('papers/dler', truncated=cut, **batch)[0], 0)
  found = shaping.difficulty_limit(**batch, easy_length=11.0, hard_length=12.5)
  np.testing.assert_array_equal(found, [1, 0, 1, 0, 0, 0, 0, 0])


def test_dler_divides_by_the_deviation_of_the_batch():
  node = config.load(str(config.find('papers/dler'))).rl.advantage
  bound, batch = bind(node), in_groups([(1, 1), (0, 1)], [(1, 1), (0, 1), (0, 1), (0, 1)])
  found = np.asarray(bound(batch, bound.hyper(0)))
  np.testing.assert_allclose((found[0] - found[1]) / (found[2] - found[3]), 1, rtol=1e-5)


# -- autothink ------------------------------------------------------------------------------------


def modes(right, thinks):
  num = len(right)
  return {
    'rewards': jnp.array(right, jnp.float32),
    'group_ids': jnp.zeros(num, jnp.int32),
    'reward_components': {'thinks': jnp.array(thinks, jnp.float32)},
  }


def test_autothink_pays_by_mode():
  found = shaping.think_modes(**modes([1, 0, 1, 0], [1, 1, 0, 0]))
  np.testing.assert_array_equal(found, [1, 0, 2, -1])
  with pytest.raises(ValueError, match="no component 'dreams'; there are thinks"):
    shaping.think_modes(**modes([1], [1]), component='dreams')


def test_autothink_takes_worth_from_the_mode_that_too_many_are_in():
  batch = modes([1, 0, 1, 1], [1, 1, 1, 0])  # three of four think, wanted is a half
  found = jax.jit(lambda b, x: shaping.think_modes(**b, balance=x))(batch, 2.0)
  np.testing.assert_allclose(found, [0, -0.5, 0, 2])
  found = shaping.think_modes(**batch, balance=2.0, target=0.75)
  np.testing.assert_allclose(found, [1, 0, 1, 2])
  few = modes([1, 1, 1, 1], [1, 0, 0, 0])
  np.testing.assert_allclose(shaping.think_modes(**few, balance=2.0), [1, 0.5, 0.5, 0.5])


def test_autothink_leaves_what_is_unscorable_out_of_the_shares():
  batch = modes([1, 0, np.nan, 1, 1, 1], [1, 0, 1, 1, np.nan, 1])
  batch['group_ids'] = jnp.array([0, 0, 0, -1, 0, 1], jnp.int32)
  found = shaping.think_modes(**batch, balance=3.0)  # two of three think
  np.testing.assert_allclose(found, [0, -1, np.nan, 1, 1, 0], atol=1e-6)


def test_autothink_goes_through_its_stages():
  batch = {
    **modes([1, 1, 1, 1], []),
    'reward_components': {'episode.turns': jnp.array([2.0, 2.0, 2.0, 1.0])},
    'completion_length': jnp.array([9.0, 7.0, 9.0, 5.0]),
  }
  found = [shaped('papers/autothink', iteration, **batch) for iteration in (0, 15, 40)]
  np.testing.assert_allclose(found[0], [0, 0, 0, 2])
  assert found[1][0] > found[0][0] and found[1][3] - found[1][0] < found[2][3] - found[2][0]
  np.testing.assert_allclose(found[2], [0.9, 1, 0.9, 2.1], atol=1e-6)


# -- outcome_based_exploration --------------------------------------------------------------------


def outcomes(codes, groups, prompts=None, rewards=None):
  rewards = np.ones(len(codes)) if rewards is None else rewards
  return {
    'rewards': jnp.array(rewards, jnp.float32),
    'group_ids': jnp.array(groups, jnp.int32),
    'prompt_ids': jnp.array(groups if prompts is None else prompts, jnp.int32),
    'reward_components': {'answer_code': jnp.array(codes, jnp.float32)},
  }


def test_outcome_based_exploration_pays_for_answers_by_how_rare_they_were():
  first = outcomes([5, 5, 5, 5, 2**24 - 2, -1], [0, 0, 0, 1, 1, 1])
  later = outcomes([5, 2**24 - 2, 5, 9, 2**24 - 3, 2**24 - 2], [0, 0, 1, 1, 1, 1])
  step = jax.jit(lambda b, s, x: shaping.outcome_bonus(**b, state=s, shift=x))
  found, state = step(first, shaping.outcome_bonus_init(), 0.0)
  np.testing.assert_allclose(found, [1.1, 1.1, 1.1, 1.1, 1.1, 1])
  assert state['counts'].sum() == 5 and state['counts'].max() == 3
  expected = [1 + 0.1 / 3**0.5, 1.1, 1.1, 1.1, 1.1, 1.1]
  np.testing.assert_allclose(step(later, state, 0.0)[0], expected, rtol=1e-6)
  _, state = step(later, state, 0.0)
  again = outcomes([5, 5, 2**24 - 2], [0, 1, 1])
  found = step(again, state, 0.5)[0]  # five, twice, twice seen
  expected = 1 + 0.1 * (np.array([4, 2, 2]) ** -0.5 - 0.5)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_outcome_bonus_of_the_group_mean_and_without_the_unscorable():
  state = shaping.outcome_bonus_init()
  batch = outcomes([5, 5, 5, 5, 7], [0, 0, 0, -1, 1], rewards=[1, 0, np.nan, 1, 1])
  found, state = shaping.outcome_bonus(**batch, state=state)
  np.testing.assert_allclose(found, [1.1, 0.1, np.nan, 1, 1.1], rtol=1e-6)
  assert state['counts'].sum() == 3
  batch = outcomes([5, 6], [0, 0])
  found, _ = shaping.outcome_bonus(**batch, state=state, center='group', coefficient=1.0)
  gap = (1 - 2**-0.5) / 2
  np.testing.assert_allclose(found, [1 - gap, 1 + gap], rtol=1e-6)
  with pytest.raises(ValueError, match="center 'mean'"):
    shaping.outcome_bonus(**batch, state=state, center='mean')


def test_outcome_counts_of_many_pairs_are_spread():
  num = 1000
  batch = outcomes(np.arange(num) % 40, np.arange(num) // 40, rewards=np.zeros(num))
  _, state = shaping.outcome_bonus(**batch, state=shaping.outcome_bonus_init())
  assert np.sum(np.asarray(state['counts']) == 1) > 970  # chance lets about 15 share a place


def test_outcome_based_exploration_charges_what_others_of_the_group_say():
  batch = outcomes([4, 4, 4, 8, 4, -1, -1], [0, 0, 0, 0, 1, 1, 1])
  del batch['prompt_ids']
  found = shaping.repeated_outcome(**batch, coefficient=0.3)
  np.testing.assert_allclose(found, [0.8, 0.8, 0.8, 1, 1, 1, 1], rtol=1e-6)
  batch['rewards'] = batch['rewards'].at[0].set(jnp.nan)
  found = shaping.repeated_outcome(**batch, coefficient=0.3)
  np.testing.assert_allclose(found, [np.nan, 0.85, 0.85, 1, 1, 1, 1], rtol=1e-6)
  with pytest.raises(ValueError, match='no component'):
    shaping.repeated_outcome(**{**batch, 'reward_components': {}})


def test_both_forms_of_outcome_based_exploration_are_in_its_config():
  batch = outcomes([4, 4, 8, -1], [0, 0, 0, 0])
  found = shaped('papers/outcome_based_exploration', **batch)
  np.testing.assert_allclose(found, [1.1 - 0.1 / 3, 1.1 - 0.1 / 3, 1.1, 1], rtol=1e-6)


# -- gui_g1 ---------------------------------------------------------------------------------------


def test_gui_g1_scales_advantages_by_the_failures_of_the_group():
  settings = config.load(str(config.find('papers/gui_g1'))).rl
  bound = bind(settings.advantage_shaping.difficulty)
  ids = jnp.arange(4, dtype=jnp.int32)
  arrays = {
    'advantages': jnp.ones((4, 2)),
    'action_mask': jnp.array([[True, True]] * 3 + [[True, False]]),
    'rewards': jnp.array([1.0, 0.0, 0.0, 0.0]),
    'group_ids': jnp.array([0, 0, 1, 1], jnp.int32),
    'segment_ids': jnp.zeros((4, 2), jnp.int32),
    'sample_ids': ids[:, None],
  }
  found = bound(arrays, bound.hyper(0))
  np.testing.assert_allclose(found[:, 0], np.array([2, 2, 4, 4]) / 3, rtol=1e-6)
  np.testing.assert_allclose(found[:, 1], np.array([2, 2, 4, 0]) / 3, rtol=1e-6)
  all_right = bound({**arrays, 'rewards': jnp.ones(4)}, bound.hyper(0))
  np.testing.assert_array_equal(all_right, arrays['action_mask'])
  assert settings.weights.name == 'weighting.fixed_length'


# -- prm_clip_delta -------------------------------------------------------------------------------


def refined(scores, outcome=1.0, **hyper):
  """The first return of each step of one completion, two tokens a step."""
  length = 2 * len(scores)
  places = jnp.ones((1, length), bool), jnp.zeros((1, length), jnp.int32)
  token_rewards = jnp.zeros((1, length)).at[0, 1::2].set(jnp.array(scores))
  found = refined_step_returns(
    jnp.array([outcome]),
    token_rewards,
    *places,
    jnp.zeros((1, 1), jnp.int32),
    (jnp.arange(length) // 2)[None],
    **hyper,
  )
  np.testing.assert_array_equal(found[0, ::2], found[0, 1::2])
  return found[0, ::2]


@pytest.mark.thorough
def test_prm_clip_pays_nothing_for_steps_that_are_good_enough():
  np.testing.assert_allclose(refined([0.9, 0.2, 0.6], mode='clip'), [0.7, 0.7, 1], rtol=1e-6)
  np.testing.assert_array_equal(refined([0.9] * 9, mode='clip'), np.ones(9))


def test_prm_delta_sums_to_the_present_score_however_many_steps_follow():
  few, many = refined([0.9, 0.2], mode='delta'), refined([0.9, 0.2, *[0.9] * 9], mode='delta')
  np.testing.assert_allclose(few, [1.9, 1.2], rtol=1e-6)
  np.testing.assert_allclose(many[:2], few)


def test_prm_clip_delta_bounds_what_a_trajectory_earns():
  found = refined([0.9, 0.2, 0.6], alpha=0.5)
  np.testing.assert_allclose(found, [0.5, 0.2, 0.5], rtol=1e-6)
  found = refined([0.9, 0.2, 0.6], outcome=0.0, eta=0.3)
  np.testing.assert_allclose(found, [0, -0.1, 0], atol=1e-6)
  with pytest.raises(ValueError, match="mode 'both'"):
    refined([0.5], mode='both')


@pytest.mark.parametrize('mode', ['clip', 'delta', 'clip+delta'])
def test_refined_returns_of_packed_steps(mode):
  batch = token_batch(1)
  arrays = ('rewards', 'token_rewards', 'action_mask', 'segment_ids', 'sample_ids', 'step_ids')
  found = refined_step_returns(*(jnp.asarray(batch[name]) for name in arrays), mode=mode)
  expected = token_reference.refined_step_returns(
    batch, list(batches.samples(batch)), mode=mode, name='step_ids'
  )
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# -- campo ----------------------------------------------------------------------------------------


def test_campo_charges_a_loop_by_how_early_it_begins():
  node = config.load(str(config.find('papers/campo'))).rl.reward_shaping.loops
  bound = bind({**node, 'coefficient': 1.0})

  def reward(*texts):
    num, length = len(texts), max(map(len, texts)) + 1
    tokens, actions = np.zeros((num, length), np.int32), np.zeros((num, length), bool)
    for row, text in enumerate(texts):
      tokens[row, 1 : len(text) + 1] = [ord(letter) for letter in text]
      actions[row, 1 : len(text) + 1] = True
    ids = jnp.arange(num, dtype=jnp.int32)
    arrays = {
      'rewards': jnp.ones(num),
      'tokens': jnp.asarray(tokens),
      'action_mask': jnp.asarray(actions),
      'segment_ids': jnp.zeros((num, length), jnp.int32),
      'sample_ids': ids[:, None],
      'sample_slots': ids,
    }
    return np.asarray(bound(arrays, bound.hyper(0)))

  found = reward('abcdefghij', 'aaaaaaaaaa', 'abcdeaaaaa', 'xyxyxyxyxy', 'aaabbbcccd', '')
  np.testing.assert_allclose(found, [1, 0.3, 0.8, 0.7, 1, 1], rtol=1e-6)
  with pytest.raises(ValueError, match='repeats=1'):
    bound.function(**{name: None for name in bound.arrays}, repeats=1)


def test_campo_gives_completions_more_room_stage_by_stage():
  settings = config.load(str(config.find('papers/campo')))
  first, last = (settings[name] for name in settings.stages[1:])
  assert first.kind == last.kind == 'rl' and first.max_new_tokens < last.max_new_tokens
  assert first.reward_shaping == last.reward_shaping
  baseline = config.load(str(config.find('presets/clip_higher'))).rl
  assert first.iterations + last.iterations == baseline.iterations
