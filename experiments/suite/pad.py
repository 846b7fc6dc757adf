"""Pad: a sum, after any number of filler tokens.

    prompt      47+38=
    completion  .....085

The filler changes nothing but the length of a completion, so what a method does to length shows.
"""

import functools

from rljax.prompts import Prompt, Task
from rljax.tasks import procedural

ALPHABET = '0123456789+=.'
FILLER = '.'


def reward(completion, answer):
  """1 if nothing but filler stands before the answer, and nothing after it, else 0.

  Returns:
    'reward', and the number of filler tokens as the component 'filler_right' of a right completion
    or 'filler_wrong' of a wrong one.
  """
  said = completion.lstrip(FILLER)
  right = said == f'{answer:03d}'
  filler = float(len(completion) - len(said))
  return {'reward': float(right), 'filler_right' if right else 'filler_wrong': filler}


def bare(completion, answer):
  """1 if the completion is the answer and nothing else, else 0."""
  return float(completion == f'{answer:03d}')


def well_formed(completion):
  """Filler, then three digits."""
  said = completion.lstrip(FILLER)
  return len(said) == 3 and said.isascii() and said.isdigit()


def demonstrate(prompt, *, wrong, most):
  """Uniformly 0 … `most` filler tokens, then the sum or, in a share of them, another number.

  Args:
    prompt: of the task; the draw is a function of it.
    wrong: share of wrong sums, as a fraction.
    most: filler tokens.
  """
  draw = procedural.Draw('pad', 'demonstrate', prompt.prompt_id, prompt.text)
  filler, number = FILLER * draw.between(0, most), prompt.answer
  if draw.below(1_000_000) < wrong * 1_000_000:
    number = draw.below(198)  # of all sums but the right one
    number += number >= prompt.answer
  return f'{filler}{number:03d}'


def pad(
  *,
  wrong: float = 0.0,
  most: int = 8,
  num_train: int = 400_000,
  num_test: int = 1792,
  test_fraction: float = 0.2,
  seed: int = 0,
) -> Task:
  """Sums of two numbers below 100; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  Two numbers are on one side of the split in both orders.

  Args:
    wrong: share of demonstrations with a wrong sum, as a fraction.
    most: filler tokens of a demonstration; their number is uniform in 0 … most.
    num_train: training prompts; a problem comes up more than once, with other demonstrations.
    num_test: held-out problems, all different (2 + 3 and 3 + 2 are two prompts).
    test_fraction: share of all problems that is held out, as a fraction.
    seed: of the problems, not of the split.

  Raises:
    ValueError: impossible numbers, or too few problems.
  """
  if not 0 <= wrong <= 1 or most < 0:
    raise ValueError(f'pad: wrong={wrong}, most={most}; needs a fraction, and a number ≥ 0')
  held_out_below = procedural.threshold(test_fraction)

  def make(split, index, prompt_id):
    def propose(draw):
      pair = draw.below(100), draw.below(100)
      held_out = procedural.mix(sorted(pair)) < held_out_below
      return pair if held_out == (split == 'test') else None

    draw = procedural.Draw('pad', seed, split, index)
    first, second = procedural.first_accepted(draw, propose, f'pad: no problem for {split}')
    return Prompt(text=f'{first:02d}+{second:02d}=', prompt_id=prompt_id, answer=first + second)

  return Task(
    name='pad',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      functools.partial(make, 'test'),
      lambda prompt: prompt.text,
      f'pad: too few problems for num_test={num_test}; raise test_fraction',
    ),
    reward='suite.pad.reward',
    demonstrate=functools.partial(demonstrate, wrong=wrong, most=most),
    well_formed=well_formed,
    license='Apache-2.0 (generated)',
  )
