"""Ops: a letter says which three of four digits are wanted, in which order.

    prompt      4072b
    completion  072

Every letter has a rule of its own, and of its demonstrations a known share is wrong: what a policy
gets right before RL is set by construction, letter by letter.
"""

import functools
import itertools
from collections.abc import Sequence

from rljax.prompts import Prompt, Task
from rljax.tasks import procedural

ALPHABET = 'abcde0123456789'
# Two rules agree in one place at most, so that what helps one letter does not help another.
RULES = {'a': (0, 1, 2), 'b': (1, 2, 3), 'c': (2, 3, 0), 'd': (3, 0, 1), 'e': (0, 2, 1)}
WRONG = ('digits', 'spread', 'trap')


def reward(completion, answer, metadata):
  """1 if the completion is the answer, else 0.

  Returns:
    'reward', the component 'category_<letter>' of the prompt's letter, which is the reward once
    more, and the component 'trap': 1 if it is the wrong answer on which demonstrations may agree.
  """
  right = float(completion == answer)
  trap = float(completion == metadata['trap'])
  return {'reward': right, f'category_{metadata["category"]}': right, 'trap': trap}


def apply(letter, digits):
  """The digits that the rule of `letter` takes."""
  return ''.join(digits[place] for place in RULES[letter])


def solve(prompt):
  """The right answer: what somebody who knows the rules writes."""
  return prompt.answer


def well_formed(completion):
  """Three digits."""
  return len(completion) == 3 and completion.isascii() and completion.isdigit()


def demonstrate(prompt, *, shares, wrong):
  """The answer, or with the share of its letter a wrong one; a function of the prompt.

  Args:
    prompt: of the task.
    shares: of wrong demonstrations, by letter.
    wrong: which ones, as in `ops`.
  """
  draw = procedural.Draw('ops', 'demonstrate', prompt.prompt_id, prompt.text)
  if draw.below(1_000_000) >= shares[prompt.metadata['category']] * 1_000_000:
    return prompt.answer
  if wrong == 'trap':
    return prompt.metadata['trap']
  if wrong == 'digits':
    others = itertools.permutations(prompt.metadata['digits'], 3)
    return draw.one_of([said for said in map(''.join, others) if said != prompt.answer])
  number = draw.below(999)  # of all answers but the right one
  return f'{number + (number >= int(prompt.answer)):03d}'


def ops(
  *,
  shares: Sequence[float] = (0.2, 0.5, 0.8, 0.95),
  wrong: str = 'digits',
  num_train: int = 400_000,
  num_test: int = 1792,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Digits to choose; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  The four digits differ, so different rules have different answers. A row of digits is on one side
  of the split whatever its letter. Letters come by turns, in training and in `test`.

  Args:
    shares: of wrong demonstrations, as fractions, one for each letter from `a` on, up to five; 1 =
      a right one is never shown.
    wrong: 'digits' (uniformly any three of the four digits in any order but the right one),
      'spread' (any wrong number) or 'trap' (always what the rule of the next letter gives). With
      'digits' a policy that knows no rule is right once in 24 times, else never.
    num_train: training prompts; a problem comes up more than once, with other demonstrations.
    num_test: held-out problems, all different, as many of each letter.
    test_fraction: share of all problems that is held out, as a fraction.
    seed: of the problems, not of the split.

  Raises:
    ValueError: impossible shares or kinds of wrong answers, or too few problems.
  """
  shares = dict(zip(RULES, shares)) if len(shares) <= len(RULES) else {}
  if not shares or not all(0 <= share <= 1 for share in shares.values()) or wrong not in WRONG:
    raise ValueError(
      f'ops: shares={tuple(shares.values())}, wrong={wrong!r}; needs 1 to {len(RULES)} fractions '
      f'and one of {", ".join(WRONG)}'
    )
  letters, held_out_below = ''.join(shares), procedural.threshold(test_fraction)

  def make(split, index, prompt_id):
    def propose(draw):
      digits = ''.join(draw.shuffled('0123456789')[:4])
      held_out = procedural.mix(map(ord, digits)) < held_out_below
      return digits if held_out == (split == 'test') else None

    draw = procedural.Draw('ops', seed, split, index)
    digits = procedural.first_accepted(draw, propose, f'ops: no problem for {split}')
    return prompt_of(letters[prompt_id % len(letters)], digits, prompt_id)

  return Task(
    name='ops',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      functools.partial(make, 'test'),
      lambda prompt: prompt.text,
      f'ops: too few problems for num_test={num_test}; raise test_fraction',
    ),
    reward='suite.ops.reward',
    demonstrate=functools.partial(demonstrate, shares=shares, wrong=wrong),
    well_formed=well_formed,
    license='Apache-2.0 (generated)',
  )


def prompt_of(letter, digits, prompt_id):
  letters = list(RULES)
  after = letters[(letters.index(letter) + 1) % len(letters)]
  return Prompt(
    text=f'{digits}{letter}',
    prompt_id=prompt_id,
    answer=apply(letter, digits),
    metadata={'category': letter, 'digits': digits, 'trap': apply(after, digits)},
  )
