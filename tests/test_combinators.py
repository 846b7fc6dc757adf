"""Rewards made of rewards: what the parts give stays visible, what is wrong is said at once."""

import math

import numpy as np
import pytest
from ml_collections import ConfigDict

from rljax import config, tasks
from rljax.binding import BindingError
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, all_of, gated, noisy, random_reward, routed, weighted
from rljax.rewards.delivery import resolve


def completions(texts, **prompt):
  given = {'text': 'p', 'prompt_id': 0, **prompt}
  return [
    Completion(prompt=Prompt(**given), tokens=(i,), text=t, truncated=False, sample_index=i)
    for i, t in enumerate(texts)
  ]


def length(completion, *, scale=1.0):
  return {'reward': scale * len(completion), 'letters': len(completion)}


def fails_on_b(completion):
  if 'b' in completion:
    raise ValueError('a b')
  return math.nan if 'n' in completion else 1.0


def is_a(completion):
  return float(completion.startswith('a'))


def score(reward, texts, workers=0, **prompt):
  with Scorer(reward, workers=workers) as scorer:
    return scorer.score(completions(texts, **prompt))


LENGTH = {'name': f'{__name__}.length', 'scale': 2.0}


@pytest.mark.parametrize('workers', [0, 1])
def test_weighted_sum_keeps_its_parts(workers):
  node = {
    'name': 'rewards.weighted',
    'rewards': {'a': is_a, 'long': {'name': length, 'scale': 2.0}},
    'weights': {'long': 0.5},
  }
  scores = score(node, ['a', 'bc'], workers)
  assert scores.rewards.tolist() == [2, 2]
  assert {k: v.tolist() for k, v in scores.components.items()} == {
    'a': [1, 0],
    'long': [2, 4],
    'long.letters': [1, 2],
  }


def test_nodes_of_a_config_reach_a_worker():
  node = ConfigDict(
    {
      'name': 'rewards.combinators.weighted',
      'rewards': {
        'format': {'name': 'rewards.layout.tags_in_order', 'tags': ('answer',)},
        'right': {'name': 'rewards.gated', 'gate': 'rewards.layout.think_answer',
                  'reward': {'name': 'rewards.matching.exact', 'tag': 'answer'}},
      },
    }
  )
  good = '<think>so</think><answer>x</answer>'
  scores = score(node, [good, '<answer>x</answer>'], 1, answer='x')
  assert scores.rewards.tolist() == [1, 1] and not scores.messages
  assert scores.components['right'].tolist() == [1, 0]
  assert scores.components['right.gate.marks'].tolist() == [1, 0.5]
  np.testing.assert_array_equal(scores.components['right.gated'], np.float32([1, np.nan]))


def test_a_whole_config_holds_them():
  changed = config.load('quickstart')
  changed.rewards.reward = {
    'name': 'rewards.weighted',
    'rewards': {'right': 'tasks.words.reward', 'noise': {'name': 'rewards.random_reward'}},
    'weights': {'noise': 0.0},
  }
  node = config.resolve(changed).rewards.reward
  scores = score(node, ['abc', 'acb'], 1, answer='abc')
  assert scores.rewards.tolist() == [1, 0] and scores.errors == 0
  assert {'right.similarity', 'noise'} < set(scores.components)


def test_gate():
  asked = []

  def dear(completion):
    asked.append(completion)
    return 0.7

  node = {'name': gated, 'reward': dear, 'gate': is_a, 'closed': -1.0}
  assert score(node, ['ab', 'b']).rewards.tolist() == pytest.approx([0.7, -1])
  assert asked == ['ab'], 'a closed gate spares the reward'
  assert score({**node, 'threshold': 1.0}, ['ab']).rewards.tolist() == pytest.approx([0.7])
  assert score({**node, 'threshold': 2.0}, ['ab']).rewards.tolist() == [-1]


def test_all_of():
  node = {'name': all_of, 'rewards': {'a': is_a, 'long': length}, 'threshold': 1.0}
  scores = score(node, ['a', 'b', ''])
  assert scores.rewards.tolist() == [1, 0, 0]
  assert scores.components['long'].tolist() == [1, 1, 0], 'all are asked'


def test_router():
  node = {'name': routed, 'rewards': {'words': length, 'as': is_a}}
  assert score(node, ['abc'], metadata={'source': 'words'}).rewards.tolist() == [3]
  scores = score(node, ['abc'], metadata={'source': 'as'})
  assert scores.rewards.tolist() == [1] and list(scores.components) == ['as']
  lost = score(node, ['abc'], metadata={'source': 'code'})
  assert np.isnan(lost.rewards[0]) and lost.errors == 1
  assert "metadata['source'] is 'code'; there are rewards for" in next(iter(lost.messages))
  other = {**node, 'default': LENGTH, 'by': 'from'}
  assert score(other, ['abc'], metadata={'from': 'code'}).components['default'].tolist() == [6]


def test_a_part_that_fails_leaves_no_reward():
  node = {'name': weighted, 'rewards': {'a': is_a, 'other': fails_on_b}}
  scores = score(node, ['a', 'b', 'n'])
  np.testing.assert_array_equal(scores.rewards, np.float32([2, np.nan, np.nan]))
  assert scores.errors == 2
  assert any(m.startswith('ValueError: a b (test_combinators.py, line ') for m in scores.messages)
  assert any('other: returned nan, which is no finite number' in m for m in scores.messages)


def test_noise_flips_the_asked_share_and_no_other():
  fields = dict(prompt='p', answer=None, metadata={}, truncated=False)

  def values(text, n=2000, **hyper):
    return [noisy(completion=text, tokens=(i,), reward=is_a, **hyper, **fields) for i in range(n)]

  right = values('a', false_negative=0.3)
  assert abs(np.mean([v['flipped'] for v in right]) - 0.3) < 0.04
  assert all(v['true'] == 1 and v['reward'] == 1 - v['flipped'] for v in right)
  assert right == values('a', false_negative=0.3) != values('a', false_negative=0.3, salt=1)
  assert not any(v['flipped'] for v in values('b', false_negative=0.3))
  assert all(v['reward'] == 1 for v in values('b', 5, false_positive=1.0))
  with pytest.raises(ValueError, match=r'the reward is 4\.0; needs one between 0 and 1'):
    noisy(completion='long', tokens=(), reward=length, **fields)


def test_noise_follows_the_random_reward():
  """The same hash: a control at the same rate flips the same samples."""
  fields = dict(completion='a', prompt='p', answer=None, metadata={}, truncated=False)
  for i in range(50):
    found = noisy(tokens=(i,), reward=is_a, false_negative=0.4, salt=3, **fields)
    assert found['flipped'] == random_reward('p', (i,), probability=0.4, salt=3)


def test_rewards_in_rewards_in_rewards():
  node = {'name': 'rewards.inverted', 'reward': {'name': noisy, 'reward': is_a}}
  deep = {'name': weighted, 'rewards': {'x': {'name': gated, 'gate': is_a, 'reward': node}}}
  scores = score(deep, ['a', 'b'])
  assert scores.rewards.tolist() == [0, 0] and 'x.gate' in scores.components


@pytest.mark.parametrize(
  ('node', 'message'),
  [
    ({'name': weighted}, "weighted: hyper-parameter 'rewards' has no default"),
    ({'name': weighted, 'rewards': {}}, 'weighted.rewards: no rewards'),
    ({'name': weighted, 'rewards': {'a': 'no.such'}}, r'\.rewards\.a: no\.such: there is no'),
    ({'name': weighted, 'rewards': {'a': 7}}, r'weighted\.rewards\.a: 7 is no reward'),
    (
      {'name': weighted, 'rewards': {'a': {'name': length, 'scal': 1}}},
      r"weighted\.rewards\.a: length: unknown hyper-parameter 'scal'; it accepts scale; did you me",
    ),
    (
      {'name': gated, 'reward': {'name': gated, 'gate': is_a}, 'gate': is_a},
      r"gated\.reward: gated: hyper-parameter 'reward' has no default",
    ),
    (
      {'name': weighted, 'rewards': {'a': is_a}, 'weights': {'aa': 1}},
      "weighted: a weight of 'aa'; did you mean a",
    ),
    ({'name': noisy, 'reward': is_a, 'false_positive': 2}, 'probabilities are between 0 and 1'),
    ({'name': weighted, 'rewards': {'a': lambda text: 1.0}}, r'rewards\.a: reward <lambda>: takes'),
  ],
)
def test_what_is_wrong_inside_is_named_at_once(node, message):
  with pytest.raises(BindingError, match=message):
    Scorer(node, workers=0)


def test_nothing_else_changes_on_its_way():
  assert resolve({'name': 'rewards.inverted', 'reward': 'tasks.arithmetic.reward'})[1] == (
    'name',
    'rewards.inverted',
    {'reward': 'tasks.arithmetic.reward'},
  )


def test_a_mixture_of_tasks_takes_rewards_with_hyper_parameters():
  task = tasks.mixture(
    sources={
      'rules': {'task': {'name': 'tasks.constrained_text', 'partial': True, 'num_test': 4}},
      'words': {'task': {'name': 'tasks.sorting', 'num_test': 4}},
    }
  )
  given = [Completion(p, (), task.demonstrate(p), False) for p in task.test]
  with Scorer(task.reward, workers=1) as scorer:
    scores = scorer.score(given)
  assert scores.rewards.tolist() == [1] * 8 and scores.errors == 0
  assert np.isfinite(scores.components['rules']).sum() == 4
