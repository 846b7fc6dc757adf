"""Methods whose mechanism is a shaped reward: each config does what its paper says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.shaping import samples
from reference import shaping as reference

from rljax import config, shaping
from rljax.binding import bind
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, patterns


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


def score(node, text, answer=42):
  """(reward, components) of one completion."""
  prompt = Prompt(text='6*7=<think> ...', prompt_id=0, answer=answer)
  completion = Completion(prompt=prompt, tokens=(0,), text=text, truncated=False)
  with Scorer(node, workers=0) as scorer:
    scores = scorer.score([completion])
  assert not scores.messages
  return scores.rewards[0], {name: values[0] for name, values in scores.components.items()}


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('six times seven</think>42', (1, 1)),
    ('six times seven</think>43', (0, 1)),
    ('</think>42', (1, 0)),
    ('<think>\n</think>42', (1, 0)),
    ('a</think>b</think>42', (1, 1)),
    ('it is 42', (0, 1)),
    ('', (0, 0)),
  ],
)
def test_autothink_tells_thinking_from_a_direct_answer(text, expected):
  node = {'name': 'rewards.after_thinking', 'reward': 'tasks.products.reward'}
  reward, components = score(node, text)
  assert (reward, components['thinks']) == expected


# -- noisy_rewards_rpr ----------------------------------------------------------------------------


def test_rpr_pays_for_phrases_up_to_a_cap_and_not_for_repetition():
  def reward(text, **hyper):
    node = {'name': 'rewards.patterns.phrases', 'phrases': ('First', 'so'), 'cap': 4, **hyper}
    return score(node, text)[0]

  assert reward('42') == 0
  assert reward('first I add, so it is 42') == 0.5
  assert reward('First, a. So, b. So, c. So, d.') == 0.75  # one of them counts twice at most
  assert reward('First, a. So, b. So, c. So, d.', most=3, cap=3) == 1
  assert reward('first so ' * 9) == 0
  assert reward('first so ' * 9, repeated=1.0) == 1
  with pytest.raises(ValueError, match='most=0'):
    patterns.phrases('a', most=0)
  with pytest.raises(ValueError, match="phrases='first'"):
    patterns.phrases('a', phrases='first')


def test_rpr_lifts_what_a_noisy_reward_rejects():
  node = config.load(str(config.find('papers/noisy_rewards_rpr'))).rewards.reward.to_dict()
  found = [score(node, text, 6) for text in ('1+2=3,3+3=6', '1+2=3,3+3=7', '6')]
  for reward, components in found:
    true = components['true']
    seen = 1 - true if components['flipped'] else true
    assert components['uncalibrated'] == seen
    lift = 0.1 * components['pattern'] if seen < 0.5 else 0
    assert reward == pytest.approx(seen + lift)
  assert [components['pattern'] for _, components in found] == [1, 1, 0]
  sure = {**node, 'reward': {'name': 'rewards.noisy', 'reward': lambda completion: 0.0}}
  assert score(sure, '1+2=3,3+3=6')[0] == pytest.approx(0.1)


def test_rpr_trains_on_rewards_of_which_some_are_flipped():
  node = config.load(str(config.find('papers/noisy_rewards_rpr'))).rewards.reward.reward.to_dict()
  prompts = [Prompt(text=str(i), prompt_id=i, answer=6) for i in range(400)]
  texts = [
    Completion(prompt=prompt, tokens=(1,), text='1+2=3,3+3=6', truncated=False)
    for prompt in prompts
  ]
  with Scorer(node, workers=0) as scorer:
    assert scorer.score(texts).rewards.mean() == pytest.approx(0.6, abs=0.08)
