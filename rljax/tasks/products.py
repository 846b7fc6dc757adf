"""Products of numbers that are too large to be known by heart: work for a calculator.

    prompt      47*86=
    completion  4042, or with the tool: [47*86] is said, 4042; is heard, 4042 is said
"""

from __future__ import annotations

from collections.abc import Sequence

from rljax.prompts import Prompt, Task
from rljax.tasks import procedural

ALPHABET = '0123456789*=[];!'
CALL, RESULT, ERROR = ('[', ']'), ('', ';'), '!'  # of `environments.tools`


def reward(completion: str, answer: int) -> float:
  """1 if the completion, or its last turn, is the product and nothing else; else 0.

  Args:
    completion: digits.
    answer: the product.
  """
  return float(completion == str(answer))


def products(
  *,
  low: int = 100,
  high: int = 999,
  tool_share: float = 0.0,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Products of two numbers; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  Pairs are on the same side of the split whatever their order.

  Args:
    low, high: range of the factors.
    tool_share: share of the prompts whose demonstration calls the calculator, as a fraction.
    num_train, num_test: prompts; held-out pairs are all different.
    test_fraction: share of all pairs that is held out, as a fraction.
    seed: of the numbers, not of the split.

  Raises:
    ValueError: an impossible range, or fewer than `num_test` held-out pairs.

  Examples:
    >>> task = tasks.products(low=10, high=99, num_train=8, num_test=4)
    >>> print(task.train[0].text, task.train[0].answer)
    85*81= 6885
  """
  if not 0 <= low <= high:
    raise ValueError(f'products: low={low}, high={high}; needs 0 ≤ low ≤ high')
  held_out_below = procedural.threshold(test_fraction)

  def make(split: str, index: int, prompt_id: int) -> Prompt:
    def propose(draw: procedural.Draw):
      pair = draw.between(low, high), draw.between(low, high)
      held_out = procedural.mix(sorted(pair)) < held_out_below
      return pair if held_out == (split == 'test') else None

    draw = procedural.Draw('products', seed, split, index)
    complaint = f'products: no pair found for the {split} split; widen the range'
    a, b = procedural.first_accepted(draw, propose, complaint)
    return Prompt(
      text=f'{a}*{b}=',
      prompt_id=prompt_id,
      answer=a * b,
      metadata={'factors': (a, b), 'calls': draw.below(1000) < 1000 * tool_share},
    )

  return Task(
    name='products',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      lambda place, prompt_id: make('test', place, prompt_id),
      lambda prompt: tuple(sorted(prompt.metadata['factors'])),
      f'products: too few pairs for num_test={num_test}; raise high or test_fraction',
    ),
    reward='tasks.products.reward',
    demonstrate=demonstrate,
    well_formed=str.isdigit,
    license='Apache-2.0 (generated)',
  )


def demonstrate(prompt: Prompt) -> str | Sequence[tuple[str, bool]]:
  """The product, at once or by way of the calculator."""
  answer = str(prompt.answer)
  if not prompt.metadata['calls']:
    return answer
  a, b = prompt.metadata['factors']
  said = f'{CALL[0]}{a}*{b}{CALL[1]}'
  return [(said, True), (f'{RESULT[0]}{answer}{RESULT[1]}', False), (answer, True)]
