"""Methods whose mechanism is a reward of texts: each config does what its paper says."""

import jax.numpy as jnp
import numpy as np
import pytest

from rljax import config
from rljax.binding import bind
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, patterns
from rljax.rewards.relevance import relevance


def score(node, said, answer=42, **prompt):
  """(reward, components) of one completion."""
  given = {'text': '6*7=<think> ...', 'prompt_id': 0, 'answer': answer, **prompt}
  prompt = Prompt(**given)
  completion = Completion(prompt=prompt, tokens=(0,), text=said, truncated=False)
  with Scorer(node, workers=0) as scorer:
    scores = scorer.score([completion])
  assert not scores.messages
  return scores.rewards[0], {name: values[0] for name, values in scores.components.items()}


# -- autothink -------------------------------------------------------------------------------------


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


def test_noisy_rewards_rpr_trains_on_rewards_of_which_some_are_flipped():
  node = config.load(str(config.find('papers/noisy_rewards_rpr'))).rewards.reward.reward.to_dict()
  prompts = [Prompt(text=str(i), prompt_id=i, answer=6) for i in range(400)]
  texts = [
    Completion(prompt=prompt, tokens=(1,), text='1+2=3,3+3=6', truncated=False)
    for prompt in prompts
  ]
  with Scorer(node, workers=0) as scorer:
    assert scorer.score(texts).rewards.mean() == pytest.approx(0.6, abs=0.08)


# -- outcome_based_exploration ---------------------------------------------------------------------


def test_equal_answers_have_equal_codes():
  def code(text, **hyper):
    node = {'name': 'rewards.coded', 'reward': lambda completion: 1.0, **hyper}
    return score(node, text)[1]['answer_code']

  assert code('a b') == code(' a\n b') != code('ab')
  assert code(' ') == code('<b>a</b>', tag='a') == -1
  assert code('x <a>7</a>', tag='a') == code('<a>7 </a>', tag='a') == code('7') >= 0
  number = {'extract': 'rewards.answers.extract_number'}
  assert code('it is 12.0', **number) == code('so 12', **number)


# -- longwriter_zero ------------------------------------------------------------------------------


def test_longwriter_zero_averages_rewards_that_were_normalised_alone():
  settings = config.load(str(config.find('papers/longwriter_zero'))).rl
  rng = np.random.default_rng(0)
  groups = np.repeat(np.arange(3), 4)
  parts = {name: rng.random(12) for name in settings.reward_components}
  parts['form'] *= 100  # and still has a third of the say
  bound = bind(settings.advantage)
  arrays = {
    'rewards': jnp.zeros(12),
    'group_ids': jnp.asarray(groups, jnp.int32),
    'reward_components': {name: jnp.asarray(x, jnp.float32) for name, x in parts.items()},
  }
  expected = np.zeros(12)
  for part in parts.values():
    for group in range(3):
      own = part[groups == group]
      expected[groups == group] += (own - own.mean()) / own.std(ddof=1) / 3
  np.testing.assert_allclose(bound(arrays, bound.hyper(0)), expected, rtol=1e-3, atol=1e-4)


def test_longwriter_zero_pays_for_length_by_a_trapezoid():
  node = config.load(str(config.find('papers/longwriter_zero'))).rewards.reward.to_dict()
  del node['rewards']['quality']  # needs a prompt with constraints
  found = [score(node, ' '.join(map(str, range(n))))[1] for n in (5, 14, 20, 30, 36, 60)]
  np.testing.assert_allclose([part['length'] for part in found], [0, 0.6, 1, 1, 0.6, 0], rtol=1e-6)
  assert all(part['form'] == 0 for part in found)
  assert score(node, 'again and again and again and again')[1]['form'] < 0


# -- cls_rl ---------------------------------------------------------------------------------------


def test_cls_rl_pays_only_if_the_whole_output_is_the_label():
  node = config.load(str(config.find('papers/cls_rl'))).rewards.reward.to_dict()
  thought = '<think>it has stripes</think><answer>tiger</answer>'
  found = [score(node, text, 'tiger')[0] for text in ('tiger', 'a cat', 'it is tiger', thought)]
  assert found == [1, 0, 0, 0]
  assert score({**node, 'tag': 'answer'}, thought, 'tiger')[0] == 1


# -- r3_regularized_reward ------------------------------------------------------------------------


def test_r3_regularized_reward_pays_for_relevance_with_length_and_against_repetition():
  node = config.load(str(config.find('papers/r3_regularized_reward'))).rewards.reward.to_dict()
  asked = {'text': 'Write about the garden of roses.', 'metadata': {'source': 'open'}}
  words = ' '.join(f'word{i}' for i in range(20))
  on, off = f'{words} garden roses', f'{words} market fish'
  parrot = 'garden roses ' * 20
  (good, _), (bad, _), (hacked, parts) = (score(node, t, **asked) for t in (on, off, parrot))
  assert good > bad and good > hacked
  assert parts['open.relevance'] > 0.5 and parts['open.repetition'] < -0.9
  short, parts = score(node, 'garden roses', **asked)
  assert parts['open.length'] == pytest.approx(0.1)
  assert short == pytest.approx(parts['open.relevance'] + 0.5 * parts['open.length'])


def test_r3_compares_with_the_reference_where_there_is_one():
  node = config.load(str(config.find('papers/r3_regularized_reward'))).rewards.reward.to_dict()
  asked = {'text': 'What is the key?', 'metadata': {'source': 'closed'}, 'answer': '4821'}
  found = [score(node, text, **asked)[0] for text in ('4821', '1234', 'what is the key')]
  assert found == [1, 0, 0]


def test_relevance_is_the_cosine_of_what_embeds():
  table = {'a': (1, 0), 'b': (0, 2), 'ab': (3, 3), '': (0, 0)}
  found = relevance(
    ['a', 'ab', 'b', ''], ['a', 'a', 'a', 'a'], [0] * 4, embed=lambda texts: map(table.get, texts)
  )
  np.testing.assert_allclose(found, [1, 0.5**0.5, 0, 0])
  found = relevance(['x y', 'x x', 'z', ''], ['The X, y!'] * 4, [0] * 4)
  np.testing.assert_allclose(found, [1, 0.5**0.5, 0, 0])
  with pytest.raises(ValueError, match='1 vectors'):
    relevance(['a'], ['b'], [0], embed=lambda texts: [[1.0]])
  with pytest.raises(ValueError, match="to='reference'"):
    relevance(['a'], ['b'], [0], to='reference')
