"""Edits: a word after a list of operations, each on what the ones before it made.

    prompt      hello;+1x;-3;=2a;~1,4>
    completion  lalxo

`+2x` puts x before place 2, `-2` deletes place 2, `=2x` writes x there, `~2,5` swaps two places.
Places are counted from 1.
"""

from __future__ import annotations

import functools

from rljax.prompts import Task
from rljax.rewards import similarity
from rljax.tasks import drawn, procedural
from rljax.tasks.words import LETTERS, demonstrate, is_word

KINDS = '+-=~'
ALPHABET = LETTERS + '0123456789' + KINDS + ';,>'


def reward(completion: str, answer: str) -> dict[str, float]:
  """1 if the completion is the edited word, else 0.

  Args:
    completion: letters.
    answer: the word.

  Returns:
    'reward', and the component 'similarity': 1 − edit distance / length of the longer.
  """
  return {
    'reward': float(completion == answer),
    'similarity': similarity.edit_ratio(completion, answer),
  }


def edits(
  *,
  length: int = 6,
  num_edits: int = 3,
  kinds: str = KINDS,
  letters: str = LETTERS,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Words to edit; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  A word with the same operations, in whatever order, is on the same side of the split.

  Args:
    length: of the word, letters.
    num_edits: operations; each of them changes something.
    kinds: of operations that come up, of `+-=~`.
    letters: that words are made of, of `abcdefghijklmnopqrstuvwxyz`.
    num_train: training prompts; a problem may come up more than once.
    num_test: held-out problems, all different.
    test_fraction: share of all problems that is held out, as a fraction.
    seed: of the problems, not of the split.

  Raises:
    ValueError: an impossible setting, or fewer than `num_test` held-out problems.

  Examples:
    >>> task = tasks.edits(num_train=8, num_test=4)
    >>> print(task.train[0].text, task.demonstrate(task.train[0]))
    vmoxus;=2s;~4,6;=5m> vsosmx
  """
  known = kinds and letters and set(kinds) <= set(KINDS) and set(letters) <= set(LETTERS)
  if length < 1 or num_edits < 1 or not known:
    raise ValueError(
      f'edits: length={length}, num_edits={num_edits}, kinds={kinds!r}, letters={letters!r}; '
      f'needs a letter and an operation at least, kinds of {KINDS} and letters of {LETTERS}'
    )

  def propose(draw: procedural.Draw) -> drawn.Problem | None:
    word = answer = ''.join(draw.one_of(letters) for _ in range(length))
    operations = []
    for _ in range(num_edits):
      operation = _operation(draw, len(answer), kinds, letters)
      before, answer = answer, edited(answer, operation)
      if answer in ('', before):
        return None
      operations.append(operation)
    text = ';'.join([word, *operations]) + '>'
    return drawn.Problem(';'.join([word, *sorted(operations)]), lambda: (text, answer, {}))

  return drawn.drawn(
    'edits',
    propose,
    advice='raise length, allow more kinds or letters, or change num_edits',
    num_train=num_train,
    num_test=num_test,
    test_fraction=test_fraction,
    seed=seed,
    reward='tasks.edits.reward',
    demonstrate=demonstrate,
    well_formed=functools.partial(is_word, letters=frozenset(LETTERS)),
  )


def edited(word: str, operation: str) -> str:
  """The word after an operation, of places that it has."""
  kind, rest = operation[0], operation[1:]
  letters = list(word)
  if kind == '~':
    one, other = (int(place) - 1 for place in rest.split(','))
    letters[one], letters[other] = letters[other], letters[one]
  else:
    place = int(rest.rstrip(LETTERS)) - 1
    letters[place : place + (kind != '+')] = [] if kind == '-' else [rest[-1]]
  return ''.join(letters)


def _operation(draw: procedural.Draw, length: int, kinds: str, letters: str) -> str:
  kind = draw.one_of(kinds)
  place = draw.between(1, length + (kind == '+'))
  if kind == '~':
    return '~{},{}'.format(*sorted((place, draw.between(1, length))))
  return f'{kind}{place}' + ('' if kind == '-' else draw.one_of(letters))
