"""The puzzles of reasoning-gym: its questions, and its scorers where they are safe, else ours.

Some of its scorers execute the text of the model, and one data set executes foreign code while it
generates: `OWN` are scored here without executing anything, `EXCLUDED` are not offered.

Source: Stojanovski et al. 2025, "Reasoning Gym", arXiv 2505.24760.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from rljax.prompts import Prompt, Task
from rljax.rewards import expressions
from rljax.tasks import procedural

INSTRUCTION = 'Write the final answer between <answer> and </answer>.'
_ANSWER = re.compile(r'<answer>(.*?)</answer>', re.DOTALL)
_NO_ANSWER = 'gives no answer of its own to check its scorer with'
_EXECUTES = 'its scorer executes the text of the model, and equal answers have many forms'

EXCLUDED = {
  'boxnet': _NO_ANSWER,
  'graph_color': _NO_ANSWER,
  'propositional_logic': _NO_ANSWER,
  'rubiks_cube': _NO_ANSWER,
  'rush_hour': _NO_ANSWER,
  'game_of_life_halting': 'its scorer accepts any text',
  'codeio': 'generating it executes code of others and writes files',
  'composite': 'is made of other data sets; see tasks.mixture',
  'intermediate_integration': _EXECUTES,
  'simple_integration': _EXECUTES,
}
"""Data sets that are not offered, and why."""


def puzzles(
  *,
  dataset: str,
  attributes: Mapping[str, Any] | None = None,
  instruction: str = INSTRUCTION,
  num_train: int = 10_000,
  num_test: int = 256,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """A data set of reasoning-gym; needs the extra [tasks].

  Questions are held out by a hash of their text. `eval` metrics and rewards are strict: 1 for a
  right answer, else 0; the library's partial credit is the component 'partial'.

  Args:
    dataset: its name, such as 'chain_sum'.
    attributes: its difficulty attributes, as its config has them.
    instruction: added to each question on a line of its own.
    num_train, num_test: prompts.
    test_fraction: share of all questions that is held out, as a fraction.
    seed: of the questions.

  Raises:
    ImportError: reasoning-gym is not installed; says how to.
    ValueError: no such data set, or one of `EXCLUDED`; or attributes that it refuses.

  Examples:
    >>> try:
    ...   task = tasks.puzzles(dataset='chain_sum', num_train=8, num_test=4)
    ... except ImportError:
    ...   task = None  # the extra [tasks] is not there
    >>> print(task is None or len(task.train) == 8)
    True
  """
  # Every second place is spare: for questions that belong to the other split.
  size = 2 * (num_train + int(num_test / max(test_fraction, 1e-9))) + 1000
  source = _dataset(dataset, size, seed, tuple(sorted((attributes or {}).items())))

  def make(split: str, first: int, index: int) -> Prompt:
    place = iter(range(first, size, num_train if split == 'train' else 1))

    def propose(_):
      with _quiet():
        item = source[next(place)]
      return item if _is_held_out(item['question'], test_fraction) == (split == 'test') else None

    complaint = f'puzzles: {dataset} has too few questions for the {split} split'
    try:
      item = procedural.first_accepted(procedural.Draw('puzzles'), propose, complaint)
    except (StopIteration, IndexError):
      raise ValueError(complaint) from None
    return Prompt(
      text=f'{item["question"]}\n{instruction}\n',
      prompt_id=index,
      answer=item['answer'],
      metadata={'dataset': dataset, 'item': dict(item['metadata']), 'question': item['question']},
    )

  return Task(
    name=dataset,
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      lambda place, prompt_id: make('test', place, prompt_id),
      lambda prompt: prompt.text,
      f'puzzles: {dataset} has too few questions for num_test={num_test}',
    ),
    reward='tasks.puzzles.reward',
    demonstrate=lambda prompt: f'<answer>{prompt.answer}</answer>',
    well_formed=lambda text: _ANSWER.search(text) is not None,
    license='Apache-2.0 (reasoning-gym)',
  )


def reward(completion: str, answer: str, metadata: dict[str, Any]) -> dict[str, float]:
  """Strict accuracy, and the partial credit of the data set's own scorer as 'partial'.

  The answer is what stands in the last <answer>…</answer>, else the whole completion.

  Args:
    completion: text.
    answer: of the data set.
    metadata: of the prompt.
  """
  found = _ANSWER.findall(completion)
  given = (found[-1] if found else completion).strip()
  name = metadata['dataset']
  if own := OWN.get(name):
    score = float(own(given, answer, metadata['item']))
  elif not given:
    score = 0.0
  else:
    item = {'question': metadata['question'], 'answer': answer, 'metadata': metadata['item']}
    try:
      with _quiet():
        score = float(_scorer(name)(given, item))
    except (ValueError, TypeError, AttributeError, IndexError, KeyError):
      score = 0.0  # what it cannot read is wrong; `unreadable` counts it
      return {'reward': 0.0, 'partial': 0.0, 'unreadable': 1.0}
  return {'reward': float(score >= 1), 'partial': score, 'unreadable': 0.0}


def _same(given: str, answer: str, item: Mapping[str, Any]) -> bool:
  """The same characters, however they are spaced."""
  del item
  return ''.join(given.split()) == ''.join(str(answer).split())


def _same_lines(given: str, answer: str, item: Mapping[str, Any]) -> bool:
  """The same words on the same lines."""
  del item
  return [x.split() for x in given.splitlines()] == [x.split() for x in answer.splitlines()]


def _same_number(given: str, answer: str, item: Mapping[str, Any]) -> bool:
  """The same integer, in any base that Python writes."""
  del item
  try:
    return int(given.replace('_', '!'), 0) == int(answer, 0)
  except ValueError:
    return False


def _is_board(given: str, answer: str, item: Mapping[str, Any]) -> bool:
  """One of the boards that solve it."""
  return any(_same_lines(given, board, item) for board in item['valid_answers'])


def _makes(given: str, item: Mapping[str, Any], target: int) -> bool:
  """An expression with the given numbers, each once, that makes the target."""
  try:
    used = sorted(expressions.numbers(given))
    return used == sorted(map(Fraction, item['numbers'])) and expressions.value(given) == target
  except expressions.ExpressionError:
    return False


OWN = {
  'basic_arithmetic': _same,
  'binary_matrix': _same_lines,
  'bitwise_arithmetic': _same_number,
  'countdown': lambda given, answer, item: _makes(given, item, item['target']),
  'n_queens': _is_board,
  'number_sorting': _same,
  'polynomial_multiplication': _same,
  'puzzle24': lambda given, answer, item: _makes(given, item, 24),
  'spiral_matrix': _same_lines,
  'string_insertion': _same,
}
"""Data sets whose scorer evaluates text: they are scored by these."""


def _is_held_out(question: str, fraction: float) -> bool:
  digest = hashlib.blake2b(question.encode('utf-8', 'surrogatepass'), digest_size=8).digest()
  return int.from_bytes(digest, 'little') < fraction * 2**64


@functools.cache
def _dataset(name: str, size: int, seed: int, attributes: tuple[tuple[str, Any], ...]):
  gym = _library()
  if name in EXCLUDED:
    raise ValueError(f'puzzles: {name} is not offered: {EXCLUDED[name]}')
  if name not in gym.DATASETS:
    raise ValueError(f'puzzles: reasoning-gym has no data set {name!r}')
  try:
    with _quiet():
      return gym.create_dataset(name, seed=seed, size=size, **dict(attributes))
  except (TypeError, ValueError, AssertionError) as error:
    raise ValueError(f'puzzles: {name} refuses {dict(attributes)}: {error}') from error


@functools.cache
def _scorer(name: str):
  return _library().get_score_answer_fn(name)


def _library():
  try:
    from reasoning_gym import factory
  except ImportError as error:
    raise ImportError("puzzles need reasoning-gym: pip install 'rljax[tasks]'") from error
  return factory


@contextlib.contextmanager
def _quiet():
  """Keeps what a generator or a scorer prints out of the terminal."""
  with contextlib.redirect_stdout(io.StringIO()):
    yield
