"""Rewards of a sample, of a group and of a batch: what each sees, and what a failure costs."""

import dataclasses
import math
import os
import random
import signal
import time

import numpy as np
import pytest

from rljax.binding import BindingError
from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer, groups, weighted


def completions(*drawn, **prompt):
  """One group for each list of texts."""
  given = {'prompt_id': 0, **prompt}
  return [
    Completion(Prompt(text=f'p{draw}', **given), (draw, i), text, False, draw, i)
    for draw, texts in enumerate(drawn)
    for i, text in enumerate(texts)
  ]


def score(reward, given, workers=0, **limits):
  with Scorer(reward, workers=workers, **limits) as scorer:
    return scorer.score(given)


def behave(completions):
  """Does what the first completion says, once for its group."""
  what = completions[0]
  if what == 'die':
    os.kill(os.getpid(), signal.SIGSEGV)
  if what == 'hang':
    while True:
      pass
  if what == 'sleep':
    time.sleep(1000)
  if what == 'memory':
    return len(bytearray(2**31))
  if what == 'raise':
    raise ValueError('no group')
  if what == 'short':
    return [1.0]
  if what == 'dict':
    return {'reward': 1.0}
  if what == 'some':
    return [1.0, math.nan, ValueError('not this one'), {'reward': 2, 'part': 3}]
  return np.arange(len(completions)) + 1.0


behave.level = 'group'


def sees(completions, prompts, answers, metadata, tokens, truncated, groups):
  assert len(completions) == len(prompts) == len(answers) == len(metadata) == len(truncated)
  return [10 * group + index for group, (_, index) in zip(groups, tokens)]


sees.level = 'batch'


def test_a_group_is_scored_together_wherever_its_samples_stand():
  given = completions(['a'] * 3, ['b'] * 2, ['c'])
  mixed = random.Random(0).sample(given, len(given))
  expected = {c.tokens: i for draw in range(3) for i, c in enumerate(
    [c for c in mixed if c.draw_id == draw], 1)}
  for workers in (0, 2):
    rewards = score(behave, mixed, workers).rewards
    assert rewards.tolist() == [expected[c.tokens] for c in mixed]


@pytest.mark.parametrize('workers', [0, 1])
def test_a_batch_sees_everything_at_once(workers):
  given = completions(['a'] * 2, ['b'] * 3)
  assert score(sees, given, workers).rewards.tolist() == [0, 1, 10, 11, 12]
  assert score(sees, [], workers).rewards.shape == (0,)


def test_a_worker_that_dies_costs_its_group_and_no_other():
  bad = ['die', 'hang', 'sleep', 'memory', 'raise']
  drawn = [[first, 'x', 'x'] for b in bad for first in ('fine', b)]
  scores = score(behave, completions(*drawn), 2, cpu_seconds=0.4, memory_mib=512)
  rewards = scores.rewards.reshape(len(bad), 2, 3)
  assert (rewards[:, 0] == [1, 2, 3]).all(), 'the other groups are scored'
  assert np.isnan(rewards[:, 1]).all(), 'never 0'
  assert (scores.errors, scores.timeouts) == (9, 6), 'each sample counts'
  assert scores.messages['the process of the reward was ended by SIGSEGV'] == 3
  assert scores.messages['over the time limit'] == 6
  assert scores.messages['MemoryError: over the memory limit'] == 3


@pytest.mark.parametrize('workers', [0, 1])
def test_a_sample_of_a_group_may_fail_alone(workers):
  scores = score(behave, completions(['some'] * 4, ['fine']), workers)
  np.testing.assert_array_equal(scores.rewards, np.float32([1, np.nan, np.nan, 2, 1]))
  np.testing.assert_array_equal(scores.components['part'], np.float32([np.nan] * 3 + [3, np.nan]))
  assert scores.errors == 2 and scores.messages['ValueError: not this one'] == 1


def test_what_is_no_list_of_rewards_fails_for_all():
  scores = score(behave, completions(['short'] * 3, ['dict'] * 2, ['fine']))
  assert np.isnan(scores.rewards[:5]).all() and scores.rewards[5] == 1 and scores.errors == 5
  assert scores.messages['returned 1 rewards for 3 samples'] == 3
  assert scores.messages["returned {'reward': 1.0}, which is no list of rewards"] == 2


def test_what_failed_before_belongs_to_no_group():
  given = completions(['a', 'b', 'c'])
  given[1] = dataclasses.replace(given[1], failure='ToolError: gone')
  scores = score(behave, given)
  np.testing.assert_array_equal(scores.rewards, np.float32([1, np.nan, 2]))
  assert scores.messages == {'ToolError: gone': 1} and scores.errors == 1


def draws(completions):
  return [random.random() for _ in completions]


draws.level = 'group'


def test_random_group_rewards_do_not_depend_on_the_worker():
  given = completions('abc', 'de', 'fgh')
  here = score(draws, given).rewards
  np.testing.assert_array_equal(score(draws, given, 2).rewards, here)
  assert len(set(here.tolist())) == 8


def test_declarations_that_are_wrong():
  def sample_field(completion):
    return [0.0]

  def nothing():
    return [0.0]

  def level(completions):
    return [0.0]

  sample_field.level = nothing.level = 'group'
  level.level = 'prompt'
  for reward, message in (
    (sample_field, "takes 'completion', which does not exist; a reward of groups may take compl"),
    (nothing, 'takes nothing of its samples'),
    (level, "level 'prompt' is none of sample, group, batch"),
  ):
    with pytest.raises(BindingError, match=message):
      Scorer(reward, workers=0)


# -- inside other rewards


def is_fine(completion):
  if completion == 'raise':
    raise ValueError('sample')
  return float(completion == 'fine')


@pytest.mark.parametrize('workers', [0, 1])
def test_parts_of_different_levels(workers):
  node = {
    'name': weighted,
    'rewards': {'order': behave, 'fine': is_fine, 'place': sees},
    'weights': {'place': 100},
  }
  given = completions(['fine', 'x'], ['x', 'fine', 'raise'])
  scores = score(node, given, workers)
  np.testing.assert_array_equal(scores.rewards, np.float32([2, 102, 1001, 1103, np.nan]))
  assert scores.components['order'].tolist()[:4] == [1, 2, 1, 2]
  assert scores.errors == 1 and 'fine: ValueError: sample' in next(iter(scores.messages))
  inner = {'name': weighted, 'rewards': {'order': behave, 'fine': is_fine}}
  outer = {'name': 'rewards.inverted', 'reward': inner}
  assert score(outer, given[:2], workers).rewards.tolist() == [-1, -1]


def test_a_group_that_fails_inside_a_batch_fails_alone():
  given = completions(['raise', 'x'], ['fine', 'x'], ['short', 'x', 'x'])
  scores = score({'name': groups.ranked, 'reward': behave}, given)
  np.testing.assert_allclose(scores.rewards, [np.nan, np.nan, 0, 1] + [np.nan] * 3)
  said = 'RewardError: reward: ValueError: no group (test_reward_levels.py, line '
  assert scores.errors == 5 and any(message.startswith(said) for message in scores.messages)


def naps(completion):
  time.sleep(float(completion))
  return 1.0


def test_the_time_limit_is_of_each_part_of_a_batch():
  node = {'name': 'rewards.groups.ranked', 'reward': naps}
  given = completions(['0.25'] * 10)
  scores = score(node, given, 1, cpu_seconds=0.2)  # so 1 s of wall-clock time
  assert scores.rewards.tolist() == [0.5] * 10 and scores.errors == scores.timeouts == 0
  scores = score(node, completions(['0', '1000']), 1, cpu_seconds=0.2)
  assert np.isnan(scores.rewards).all() and scores.timeouts == 2


def test_a_group_holds_no_batch():
  def group(completions, *, reward):
    return [0.0]

  group.level, group.rewards_in = 'group', ('reward',)
  with pytest.raises(BindingError, match='sees a group and cannot hold a reward of a whole batch'):
    Scorer({'name': group, 'reward': sees}, workers=0)


# -- the rewards that see more than a sample


def test_majority_of_numbers():
  given = completions(['#### 4', 'so 5', 'it is 4.0', 'none'], ['5', '6'], ['x', 'y'])
  scores = score('rewards.groups.majority', given, 1)
  assert scores.rewards.tolist() == [1, 0, 1, 0, 1, 0, 0, 0]
  assert scores.components['share'].tolist() == [0.5, 0.25, 0.5, 0, 0.5, 0.5, 0, 0]
  assert scores.components['answered'].tolist() == [1, 1, 1, 0, 1, 1, 0, 0]


def test_majority_of_words_and_of_ones_own():
  texts = ['<answer>The cat</answer>', '<answer>dog</answer>', 'cat', '<answer>Cat!</answer>']
  found = groups.majority(texts, tag='answer')
  assert [f['reward'] for f in found] == [1, 0, 0, 1]
  found = groups.majority(['aX', 'bY', 'cX'], extract=lambda text: text[-1])
  assert [f['reward'] for f in found] == [1, 0, 1]


def slow_distinctness(texts, n):
  sets = []
  for text in texts:
    words = text.lower().split()
    sets.append({' '.join(words[i : i + n]) for i in range(len(words) - n + 1)})
  found = []
  for i in range(len(texts)):
    alike = 0.0
    for j in range(len(texts)):
      if i != j:
        both = [g for g in sets[i] if g in sets[j]]
        alike += len(both) / (len(sets[i]) + len(sets[j]) - len(both))
    found.append(1 - alike / (len(texts) - 1))
  return found


def test_distinctness():
  draw = random.Random(0)
  for n in (1, 2, 3):
    texts = [' '.join(draw.choice('abc') for _ in range(draw.randint(3, 8))) for _ in range(5)]
    assert groups.distinctness(texts, n=n) == pytest.approx(slow_distinctness(texts, n))
  assert groups.distinctness(['a b', 'a b']) == [0, 0] and groups.distinctness(['a b']) == [0]
  assert groups.distinctness(['', '']) == [0, 0]
  assert groups.distinctness(['a b c', 'x', 'x']) == [1, 0.5, 0.5], 'short texts count as a whole'
  with pytest.raises(ValueError, match='a word at least'):
    groups.distinctness(['a'], n=0)


def length(completion):
  if not completion:
    raise ValueError('empty')
  return {'reward': len(completion), 'letters': len(completion)}


def test_ranks_across_prompts():
  given = completions(['a', 'abc'], ['abc', '', 'abcd'])
  scores = score({'name': 'rewards.groups.ranked', 'reward': length}, given)
  np.testing.assert_allclose(scores.rewards, [0, 0.5, 0.5, np.nan, 1])
  np.testing.assert_array_equal(scores.components['value'], np.float32([1, 3, 3, np.nan, 4]))
  assert scores.errors == 1 and scores.components['letters'][0] == 1
  assert score({'name': groups.ranked, 'reward': length}, given[:1]).rewards.tolist() == [0.5]
