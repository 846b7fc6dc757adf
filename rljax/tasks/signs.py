"""Signs: choose an operator in front of each number so that the running result ends at a target.

    prompt      7532>11=
    completion  +5=12-3=9+2=11

The numbers keep their order and a running result follows each, so the search is over operators
alone. Problems with the same numbers and target are on the same side of the split, whatever their
order.
"""

from __future__ import annotations

import functools
import itertools
import re
from typing import Any

from rljax.prompts import Prompt, Task
from rljax.tasks import procedural, steps
from rljax.tasks.steps import ALPHABET as ALPHABET

_STEP = re.compile(r'([-+*])(0|[1-9][0-9]{0,3})=(0|[1-9][0-9]{0,3})')
_ALL_STEPS = re.compile(rf'(?:{_STEP.pattern})+')


def reward(completion: str, answer: int, metadata: dict[str, Any]) -> float:
  """1 if the steps take all numbers in order, are true and end at the target, else 0.

  Args:
    completion: `∘b=c∘b=c…`; nothing of it is evaluated as code.
    answer: the target.
    metadata: {'numbers': the given numbers}.
  """
  value, *rest = metadata['numbers']
  if not well_formed(completion, len(rest)):
    return 0.0
  for (operator, number, result), given in zip(_STEP.findall(completion), rest):
    value = steps.apply(value, operator, given)
    if int(number) != given or int(result) != value:
      return 0.0
  return float(value == answer)


def signs(
  *,
  num_numbers: int = 4,
  low: int = 1,
  high: int = 9,
  max_value: int = 99,
  operators: str = '+-',
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Choose operators; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  Numbers and one way through them are drawn uniformly, so targets with many ways are more
  frequent. Running results are between 0 and `max_value`.

  Args:
    num_numbers: numbers of a problem, ≥ 2.
    low, high: range of the numbers; above 9 the prompt has commas between them.
    max_value: largest running result.
    operators: of '+-*'.
    num_train: training prompts; a problem may come up more than once.
    num_test: held-out prompts, all different.
    test_fraction: share of all problems that is held out, as a fraction; the split depends on
      nothing else.
    seed: of the problems, not of the split.

  Raises:
    ValueError: an impossible range, or fewer than `num_test` held-out prompts.

  Examples:
    >>> task = tasks.signs(num_train=8, num_test=4)
    >>> print(task.train[0].text, task.demonstrate(task.train[0]))
    6399>21= -3=3+9=12+9=21
  """
  if num_numbers < 2 or not operators or set(operators) - set('+-*'):
    raise ValueError(
      f"signs: num_numbers={num_numbers}, operators={operators!r}; needs 2 and some of '+-*'"
    )
  if not 0 <= low <= high <= max_value <= steps.MAX_NUMBER:
    raise ValueError(
      f'signs: low={low}, high={high}, max_value={max_value}; needs '
      f'0 ≤ low ≤ high ≤ max_value ≤ {steps.MAX_NUMBER}'
    )
  rules = (num_numbers, low, high, max_value, operators)
  make = functools.partial(_make, rules, procedural.threshold(test_fraction), seed)
  return Task(
    name='signs',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      functools.partial(make, 'test'),
      lambda prompt: prompt.text,
      f'signs: too few problems for num_test={num_test}; raise high, num_numbers or test_fraction',
    ),
    reward='tasks.signs.reward',
    demonstrate=functools.partial(demonstrate, max_value=max_value, operators=operators),
    well_formed=functools.partial(well_formed, num_steps=num_numbers - 1),
    license='Apache-2.0 (generated)',
  )


def canonical(prompt: Prompt) -> tuple[int, ...]:
  """(sorted numbers …, target): what the split keeps together."""
  return (*sorted(prompt.metadata['numbers']), prompt.answer)


def well_formed(completion: str, num_steps: int) -> bool:
  """Whether the completion is made of `num_steps` steps, right or wrong."""
  if _ALL_STEPS.fullmatch(completion) is None:
    return False
  return completion.count('=') == num_steps


def demonstrate(prompt: Prompt, *, max_value: int, operators: str) -> str:
  """A right completion, drawn uniformly from all; the draw is a function of the prompt."""
  numbers = prompt.metadata['numbers']
  ways = [
    completion
    for chosen in itertools.product(operators, repeat=len(numbers) - 1)
    if (completion := _walk(numbers, chosen, max_value)) and completion[1] == prompt.answer
  ]
  return procedural.Draw('demonstrate', prompt.prompt_id, prompt.text).one_of(ways)[0]


def _walk(numbers, chosen, max_value: int) -> tuple[str, int] | None:
  """(completion, last result) of numbers with operators; None if a result is out of range."""
  value, text = numbers[0], ''
  for operator, number in zip(chosen, numbers[1:]):
    value = steps.apply(value, operator, number)
    if not 0 <= value <= max_value:
      return None
    text += f'{operator}{number}={value}'
  return text, value


def _make(rules, held_out_below: int, seed: int, split: str, index: int, prompt_id: int) -> Prompt:
  num_numbers, low, high, max_value, operators = rules

  def propose(draw: procedural.Draw):
    numbers = tuple(draw.between(low, high) for _ in range(num_numbers))
    way = _walk(numbers, [draw.one_of(operators) for _ in range(num_numbers - 1)], max_value)
    if way is None:
      return None
    held_out = procedural.mix((*sorted(numbers), way[1])) < held_out_below
    return (numbers, way[1]) if held_out == (split == 'test') else None

  numbers, target = procedural.first_accepted(
    procedural.Draw('signs', seed, split, index),
    propose,
    f'signs: no problem found for the {split} split; widen the ranges',
  )
  text = ('' if high < 10 else ',').join(map(str, numbers))
  return Prompt(
    text=f'{text}>{target}=', prompt_id=prompt_id, answer=target, metadata={'numbers': numbers}
  )
