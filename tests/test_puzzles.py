"""Data sets of reasoning-gym: gold scores 1, other text less, and nothing of it is executed."""

import pytest

from rljax.tasks import puzzles as task_of
from rljax.tasks.puzzles import EXCLUDED, OWN, reward

factory = pytest.importorskip(
  'reasoning_gym.factory', reason="needs reasoning-gym: pip install 'rljax[tasks]' ([tasks])"
)
SLOW = {
  'knight_swap', 'zebra_puzzles', 'arc_agi', 'futoshiki', 'sokoban', 'quantum_lock', 'puzzle24',
}  # fmt: skip
NAMES = sorted(set(factory.DATASETS) - set(EXCLUDED))


def strict(prompt, text):
  return reward(text, prompt.answer, prompt.metadata)['reward']


@pytest.mark.parametrize(
  'name', [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NAMES]
)
def test_gold_is_right_and_nothing_else(name):
  task = task_of(dataset=name, num_train=40, num_test=2)
  prompts = [*(task.train[i] for i in range(2)), *task.test]
  for prompt in prompts:
    assert strict(prompt, f'So: <answer>{prompt.answer}</answer>') == 1
    for wrong in ('', '<answer></answer>', '<answer>zzz</answer>', '<answer>-17.25</answer>'):
      assert strict(prompt, wrong) == 0
    assert 0 <= reward('x y', prompt.answer, prompt.metadata)['partial'] < 1
  assert not {p.text for p in task.test} & {task.train[i].text for i in range(20)}
  assert task.train[1] == task_of(dataset=name, num_train=40, num_test=2).train[1]


@pytest.mark.parametrize('name', sorted(OWN))
def test_text_is_not_executed(name, tmp_path):
  prompt = task_of(dataset=name, num_train=40, num_test=1).train[0]
  marker = tmp_path / 'executed'
  for text in (f'__import__("pathlib").Path("{marker}").touch()', '[' * 5000, '9**9**9**9'):
    assert strict(prompt, f'<answer>{text}</answer>') == 0
  assert not marker.exists()


def test_every_scorer_that_evaluates_is_replaced_or_excluded():
  import inspect
  import re

  for name, (cls, _) in factory.DATASETS.items():
    source = inspect.getsource(inspect.getmodule(cls))
    if re.search(r'\b(eval|exec)\(|parse_expr|sympify', source):
      assert name in OWN or name in EXCLUDED, name


def test_expressions_have_to_use_the_numbers():
  prompt = task_of(dataset='countdown', num_train=40, num_test=1).train[0]
  target = prompt.metadata['item']['target']
  assert strict(prompt, prompt.answer) == 1
  for wrong in (str(target), f'{prompt.answer} + 0', prompt.answer.replace('+', '-', 1) + ' - 1'):
    assert strict(prompt, wrong) == 0


def test_messages():
  with pytest.raises(ValueError, match='codeio is not offered: generating it executes'):
    task_of(dataset='codeio')
  with pytest.raises(ValueError, match="no data set 'chain_some'"):
    task_of(dataset='chain_some')
  with pytest.raises(ValueError, match='chain_sum refuses'):
    task_of(dataset='chain_sum', attributes={'min_terms': -3})
  easy = task_of(dataset='chain_sum', attributes={'max_terms': 2, 'max_digits': 1}, num_test=5)
  assert all(p.metadata['item']['num_terms'] == 2 for p in easy.test)
