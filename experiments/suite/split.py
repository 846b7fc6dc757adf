"""Split: two numbers of two digits each that add up to a given one; up to 100 ways are right.

    prompt      073=
    completion  41+32

What a policy may keep or lose here is its variety: all right answers have one reward.
"""

from rljax.prompts import Prompt, Task
from rljax.tasks import procedural

ALPHABET = '0123456789+='
MOST = 99  # the largest number of two digits


def reward(completion, answer):
  """1 if two numbers of two digits each add up to the answer, else 0.

  Returns:
    'reward', and the component 'carries': 1 if it is right and the units add up to ten or more.
  """
  parts = numbers(completion)
  right = parts is not None and sum(parts) == answer
  carries = right and parts[0] % 10 + parts[1] % 10 >= 10
  return {'reward': float(right), 'carries': float(carries)}


def numbers(completion):
  """The two numbers of `41+32`, or None if it is not of this form."""
  left, plus, right = completion[:2], completion[2:3], completion[3:]
  digits = left + right
  if plus != '+' or len(digits) != 4 or not (digits.isascii() and digits.isdigit()):
    return None
  return int(left), int(right)


def well_formed(completion):
  """Two numbers of two digits with a plus between them."""
  return numbers(completion) is not None


def demonstrate(prompt):
  """A right answer, drawn uniformly from all; the draw is a function of the prompt."""
  draw = procedural.Draw('split', 'demonstrate', prompt.prompt_id, prompt.answer)
  first = draw.between(max(0, prompt.answer - MOST), min(MOST, prompt.answer))
  return f'{first:02d}+{prompt.answer - first:02d}'


def split(
  *,
  low: int = 20,
  high: int = 178,
  num_train: int = 100_000,
  num_test: int = 1431,
  seed: int = 0,
) -> Task:
  """Numbers to split; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  Nothing is held out: there are as many problems as numbers, 159 by default, and so few are learnt
  by heart (of unseen ones a policy of the suite's size splits one in twenty, whatever it does with
  the others). So `test` is all numbers by turns; each time one comes up it is another draw. What is
  measured is not whether a number is known but how many of its answers are.

  Args:
    low, high: the numbers to split, both included; by default each has 21 to 100 right answers.
    num_train: training prompts; a number comes up many times, with different demonstrations.
    num_test: prompts of the evaluation.
    seed: of the order in which training prompts come.

  Raises:
    ValueError: an impossible range.
  """
  if not 0 <= low <= high <= 2 * MOST:
    raise ValueError(f'split: low={low}, high={high}; needs 0 ≤ low ≤ high ≤ {2 * MOST}')

  def train(index):
    return prompt_of(procedural.Draw('split', seed, index).between(low, high), index)

  # Neighbours are far apart, so that the first so many test prompts hold small and large numbers.
  spread = sorted(range(low, high + 1), key=lambda number: procedural.mix([number]))
  return Task(
    name='split',
    train=procedural.Generated(num_train, train),
    test=procedural.Generated(num_test, lambda i: prompt_of(spread[i % len(spread)], i)),
    reward='suite.split.reward',
    demonstrate=demonstrate,
    well_formed=well_formed,
    license='Apache-2.0 (generated)',
  )


def prompt_of(number, prompt_id):
  return Prompt(text=f'{number:03d}=', prompt_id=prompt_id, answer=number)
