"""Digits: the missing digit of a sum, or the number with which a pattern goes on.

    prompt      4?7+389=816>     120,155,190,?>
    completion  2                225
"""

from __future__ import annotations

from collections.abc import Sequence

from rljax.prompts import Task
from rljax.tasks import drawn, procedural
from rljax.tasks.words import demonstrate

ALPHABET = '0123456789+=,?>'


def digits(
  *,
  num_digits: int = 3,
  kinds: Sequence[str] = ('sum', 'pattern'),
  num_terms: int = 3,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Sums and patterns to complete; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  A sum is on one side of the split, in whatever order its numbers stand and whichever digit is
  missing; so is a pattern, forwards and backwards.

  Args:
    num_digits: of the numbers of a sum and of all numbers of a pattern; 1 to 15.
    kinds: that come up, in equal shares: 'sum', 'pattern'.
    num_terms: numbers of a pattern that are given.
    num_train: training prompts; a problem may come up more than once.
    num_test: held-out problems, all different.
    test_fraction: share of all problems that is held out, as a fraction.
    seed: of the problems, not of the split.

  Raises:
    ValueError: an impossible range, an unknown kind, or fewer than `num_test` held-out problems.

  Examples:
    >>> task = tasks.digits(num_train=8, num_test=4)
    >>> print(task.train[0].text, task.train[0].answer)
    908+?89=1797> 8
  """
  kinds = tuple(kinds)
  if not 1 <= num_digits <= 15 or not kinds or not set(kinds) <= {'sum', 'pattern'}:
    raise ValueError(
      f"digits: num_digits={num_digits}, kinds={kinds}; needs 1 ≤ num_digits ≤ 15 and kinds of "
      "'sum' and 'pattern'"
    )
  low, high = 10 ** (num_digits - 1), 10**num_digits - 1
  if 'pattern' in kinds and not 2 <= num_terms <= high - low:
    raise ValueError(
      f'digits: num_terms={num_terms}, num_digits={num_digits}; needs 2 ≤ num_terms ≤ {high - low},'
      ' for a pattern of numbers with so many digits'
    )

  def propose(draw: procedural.Draw) -> drawn.Problem | None:
    if draw.one_of(kinds) == 'sum':
      return _sum(draw.between(low, high), draw.between(low, high), draw)
    first, step = draw.between(low, high), draw.between(1, (high - low) // num_terms)
    step = draw.one_of((step, -step))
    numbers = [first + i * step for i in range(num_terms + 1)]
    return _pattern(numbers) if low <= numbers[-1] <= high else None

  return drawn.drawn(
    'digits',
    propose,
    advice='raise num_digits',
    num_train=num_train,
    num_test=num_test,
    test_fraction=test_fraction,
    seed=seed,
    reward='tasks.words.reward',
    demonstrate=demonstrate,
    well_formed=str.isdigit,
  )


def _sum(a: int, b: int, draw: procedural.Draw) -> drawn.Problem:
  def write():
    said = f'{a}+{b}={a + b}'
    place = draw.one_of([i for i, c in enumerate(said) if c.isdigit()])
    return f'{said[:place]}?{said[place + 1 :]}>', said[place], {}

  return drawn.Problem('{}+{}'.format(*sorted((a, b))), write)


def _pattern(numbers: Sequence[int]) -> drawn.Problem:
  *given, last = map(str, numbers)
  return drawn.Problem(
    ','.join(map(str, sorted(numbers))), lambda: (f'{",".join(given)},?>', str(last), {})
  )
