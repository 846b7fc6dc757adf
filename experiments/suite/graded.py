"""Graded: six digits to sort, with a reward of three components on different scales.

    prompt      395170>
    completion  [013579]

What is hardest, digits in their places, has the smallest scale, so in a sum the noise of the others
hides it. The component `kept` is no part of the reward: a policy that is paid for format and length
may invent digits, and this is where it shows.
"""

from __future__ import annotations

import collections
import functools

from rljax.prompts import Prompt, Task
from rljax.tasks import procedural
from rljax.tasks.words import steps

ALPHABET = '0123456789[]>'
DIGITS = 6
SCALES = {'place': 0.1, 'format': 0.6, 'length': 0.3}  # they add up to 1
WORST = 6  # digits too many or too few from which on a length is worth nothing


def graded(
  *,
  digit_noise: float = 0.4,
  format_noise: float = 0.25,
  length_noise: float = 0.25,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.25,
  seed: int = 0,
) -> Task:
  """Digits to sort in brackets; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  Rows of the same digits, in whatever order, are on the same side of the split.

  Args:
    digit_noise: share of the demonstrations in which two digits have changed places, as a fraction.
    format_noise: share that lacks a bracket.
    length_noise: share that lacks a digit or has one twice.
    num_train: training prompts; a row may come up more than once.
    num_test: held-out rows, no two of the same digits.
    test_fraction: share of all sets of digits that is held out, as a fraction.
    seed: of the rows, not of the split.

  Raises:
    ValueError: a share that is none, or fewer than `num_test` held-out rows.
  """
  noise = {'digit': digit_noise, 'format': format_noise, 'length': length_noise}
  if not all(0 <= share <= 1 for share in noise.values()):
    raise ValueError(f'graded: noise {noise}; needs shares of 0 to 1')
  held_out_below = procedural.threshold(test_fraction)

  def make(split: str, index: int, prompt_id: int) -> Prompt:
    def propose(draw: procedural.Draw) -> str | None:
      row = ''.join(str(draw.below(10)) for _ in range(DIGITS))
      held_out = procedural.mix(map(ord, sorted(row))) < held_out_below
      return row if held_out == (split == 'test') else None

    draw = procedural.Draw('graded', seed, split, index)
    row = procedural.first_accepted(draw, propose, f'graded: no row found for {split}')
    right = ''.join(sorted(row))
    metadata = {'problem': right}
    return Prompt(text=f'{row}>', prompt_id=prompt_id, answer=f'[{right}]', metadata=metadata)

  return Task(
    name='graded',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      functools.partial(make, 'test'),
      lambda prompt: prompt.answer,
      f'graded: too few rows for num_test={num_test}; raise test_fraction',
    ),
    reward='suite.graded.reward',
    demonstrate=functools.partial(demonstrate, noise=noise),
    steps=steps,
    well_formed=is_formed,
    license='Apache-2.0 (generated)',
  )


def reward(completion: str, answer: str) -> dict[str, float]:
  """place + format + length, each with its scale; 1 if the completion is the answer, else less.

  Returns:
    'reward', its components 'place' (share of digits in their place), 'format' (digits in brackets)
    and 'length' (how near the number of digits is), each times its scale; and 'kept', the share of
    the prompt's digits that are there, which nothing is paid for.
  """
  digits, right = ''.join(c for c in completion if c.isdigit()), answer[1:-1]
  there = collections.Counter(digits) & collections.Counter(right)
  shares = {
    'place': sum(a == b for a, b in zip(digits, right)) / len(right),
    'format': float(is_formed(completion)),
    'length': max(0.0, 1 - abs(len(digits) - len(right)) / WORST),
  }
  found = {name: SCALES[name] * share for name, share in shares.items()}
  whole = 1.0 if completion == answer else sum(found.values())
  return {'reward': whole, **found, 'kept': there.total() / len(right)}


def demonstrate(prompt: Prompt, *, noise: dict[str, float]) -> str:
  """The sorted digits, with noise in their order, number and brackets; a function of the prompt."""
  draw = procedural.Draw('graded', 'demonstrate', prompt.prompt_id, prompt.text)
  digits, opening, closing = list(prompt.answer[1:-1]), '[', ']'

  def happens(kind):
    return draw.below(1_000_000) < noise[kind] * 1_000_000

  if happens('digit'):
    place = draw.below(DIGITS - 1)
    other = draw.between(place + 1, DIGITS - 1)
    digits[place], digits[other] = digits[other], digits[place]
  if happens('length'):
    place = draw.below(DIGITS)
    digits[place : place + 1] = digits[place] * draw.one_of((0, 2))
  if happens('format'):
    opening, closing = draw.one_of((('', ']'), ('[', ''), ('', '')))
  return ''.join([opening, *digits, closing])


def is_formed(completion: str) -> bool:
  """Digits in brackets: the format without the answer."""
  inside = completion[1:-1]
  return completion == f'[{inside}]' and inside.isascii() and inside.isdigit()
