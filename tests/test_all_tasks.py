"""Every task that makes its own problems: gold is right, nothing and another's answer are not."""

import itertools

import numpy as np
import pytest

from rljax import tasks
from rljax.prompts import Completion
from rljax.rewards import Scorer

SIZES = dict(num_train=60, num_test=12)
MADE = (
  'arithmetic', 'causes', 'constrained_text', 'countdown', 'digits', 'edits', 'lookup', 'paths',
  'products', 'ranking', 'reranking', 'retrieval', 'reverse_text', 'signs', 'sorting',
  'table_questions',
)  # fmt: skip
# They read files; tests of their own write some, or use published ones where they are.
OF_FILES = {
  *('gsm8k', 'humaneval', 'ifeval', 'livecodebench', 'mbpp', 'mixture', 'published', 'puzzles'),
  *('records', 'self_supervised', 'text_to_sql', 'with_feedback'),
}


def last_turn(demonstration):
  """What a demonstration says behind everything that is heard."""
  return demonstration if isinstance(demonstration, str) else demonstration[-1][0]


def strict(scores):
  accuracy = scores.components.get('accuracy', scores.rewards)
  return np.asarray(accuracy), np.asarray(scores.rewards)


def test_no_task_is_left_out():
  there = {name for name in vars(tasks) if callable(getattr(tasks, name))}
  assert there == {*MADE, *OF_FILES}


@pytest.mark.parametrize('name', MADE)
def test_gold_is_right_and_nothing_else(name):
  task = getattr(tasks, name)(**SIZES)
  prompts = [*itertools.islice(task.train, 6), *itertools.islice(task.test, 6)]
  gold = [last_turn(task.demonstrate(p)) for p in prompts]
  with Scorer(task.reward, workers=0) as scorer:

    def score(texts):
      given = [Completion(p, (), text, False) for p, text in zip(prompts, texts)]
      return strict(scorer.score(given))

    accuracy, rewards = score(gold)
    assert (accuracy == 1).all() and (rewards == 1).all()
    accuracy, rewards = score([''] * 12)
    assert (accuracy == 0).all() and (rewards < 1).all()
    accuracy, rewards = score([*gold[1:], gold[0]])  # well formed, of another problem
    other = np.array([a != b for a, b in zip(gold, [*gold[1:], gold[0]])])
    assert other.sum() >= 6 and (accuracy[other] == 0).mean() > 0.8
    assert (rewards[accuracy == 0] < 1).all()
  if task.well_formed is not None:
    assert all(map(task.well_formed, gold)) and not task.well_formed('')
