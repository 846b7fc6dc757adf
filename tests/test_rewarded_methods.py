"""Methods whose mechanism is a reward of texts: each config does what its paper says."""

import pytest

from rljax import config
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, patterns


def score(node, text, answer=42):
  """(reward, components) of one completion."""
  prompt = Prompt(text='6*7=<think> ...', prompt_id=0, answer=answer)
  completion = Completion(prompt=prompt, tokens=(0,), text=text, truncated=False)
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


def test_rpr_trains_on_rewards_of_which_some_are_flipped():
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
