"""Countdown: reach a target from all of the given numbers by + − ×, in worked steps.

    prompt      7,3,12>33=
    completion  7*3=21,21+12=33   (one step for each operation, every number used once)

A problem is (sorted numbers, target). Which side of the split it is on is a hash of that, so no
permutation of a held-out problem is ever trained on.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from rljax.prompts import Prompt, Task, TokenTwin
from rljax.tasks import procedural, steps
from rljax.tasks.steps import ALPHABET as ALPHABET
from rljax.tasks.steps import Step


def reward(completion: str, answer: int, metadata: dict[str, Any]) -> float:
  """1 if the steps are well-formed, true, use every number once and end at the target, else 0.

  Args:
    completion: `a∘b=c,a∘b=c`; nothing of it is evaluated as code.
    answer: the target.
    metadata: {'numbers': the given numbers}.
  """
  worked = steps.parse(completion)
  if worked is None:
    return 0.0
  left = list(metadata['numbers'])
  for step in worked:
    for number in (step.left, step.right):
      if number not in left:
        return 0.0
      left.remove(number)
    if not step.holds:
      return 0.0
    left.append(step.result)
  return float(left == [answer])


def countdown(
  *,
  num_numbers: int = 3,
  low: int = 1,
  high: int = 20,
  max_value: int = 99,
  operators: str = '+-*',
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Countdown with worked steps; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  Problems are uniform over the solvable (sorted numbers, target); the order of the numbers is
  random. Results of steps are between 1 and `max_value` in targets and demonstrations; the reward
  takes other ways too.

  Args:
    num_numbers: given numbers of a problem, ≥ 2.
    low, high: range of the given numbers.
    max_value: largest result of a step, and so the largest target.
    operators: of '+-*'.
    num_train: training prompts; a problem may come up more than once, in another order.
    num_test: held-out problems, all different.
    test_fraction: share of all problems that is held out, as a fraction; the split depends on
      nothing else.
    seed: of the problems, not of the split.

  Raises:
    ValueError: an impossible range, or fewer than `num_test` held-out problems.

  Examples:
    >>> task = tasks.countdown(num_train=8, num_test=4, high=9)
    >>> prompt = task.train[0]
    >>> print(prompt.text, task.demonstrate(prompt))
    7,7,8>63= 8*7=56,56+7=63
  """
  _check(num_numbers, low, high, max_value, operators)
  make = functools.partial(
    _make, (num_numbers, low, high, max_value, operators), procedural.threshold(test_fraction), seed
  )
  return Task(
    name='countdown',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      lambda place, prompt_id: make('test', place, prompt_id),
      canonical,
      f'countdown: too few problems for num_test={num_test}; raise high, num_numbers or '
      'test_fraction',
    ),
    reward='tasks.countdown.reward',
    demonstrate=functools.partial(demonstrate, max_value=max_value, operators=operators),
    well_formed=steps.well_formed,
    license='Apache-2.0 (generated)',
    twin=token_twin(
      num_numbers=num_numbers,
      low=low,
      high=high,
      max_value=max_value,
      operators=operators,
      test_fraction=test_fraction,
    ),
  )


def canonical(prompt: Prompt) -> tuple[int, ...]:
  """(sorted numbers …, target): equal for two prompts that are the same problem."""
  return (*sorted(prompt.metadata['numbers']), prompt.answer)


def demonstrate(prompt: Prompt, *, max_value: int, operators: str) -> str:
  """A right completion, drawn uniformly from all; the draw is a function of the prompt."""
  draw = procedural.Draw('demonstrate', prompt.prompt_id, prompt.text)
  numbers, worked = tuple(sorted(prompt.metadata['numbers'])), []
  while len(numbers) > 1:
    moves = _moves(numbers, max_value, operators)
    counts = [_counts(rest, max_value, operators).get(prompt.answer, 0) for _, rest in moves]
    step, numbers = moves[draw.weighted(counts)]
    worked.append(step)
  return steps.write(worked)


def token_twin(
  *,
  num_numbers: int = 3,
  low: int = 1,
  high: int = 20,
  max_value: int = 99,
  operators: str = '+-*',
  test_fraction: float = 0.1,
  ids: Sequence[int] | None = None,
) -> TokenTwin:
  """Training prompts and the reward on token arrays.

  Differs from `countdown`: numbers are drawn independently and the target by random steps, so
  targets with many solutions come up more often.

  Args:
    num_numbers, low, high, max_value, operators, test_fraction: as in `countdown`.
    ids: token id of each character of ALPHABET; those of `tokenization.characters` by default.
  """
  _check(num_numbers, low, high, max_value, operators)
  ids = tuple(range(2, 2 + len(ALPHABET))) if ids is None else tuple(ids)

  def prompts(key, num_prompts: int):
    from rljax.tasks import token_steps

    numbers, target = token_steps.countdown_problems(
      key,
      num_prompts,
      num_numbers=num_numbers,
      low=low,
      high=high,
      max_value=max_value,
      operators=operators,
      held_out_below=procedural.threshold(test_fraction),
    )
    pieces = []
    for i in range(num_numbers):
      pieces += [numbers[:, i], ',' if i < num_numbers - 1 else '>']
    tokens, length = token_steps.write([*pieces, target, '='], ids, max(high, max_value))
    return tokens, length, {'numbers': numbers, 'target': target}

  def token_reward(tokens, length, answer):
    from rljax.tasks import token_steps

    return token_steps.countdown_reward(tokens, length, answer['numbers'], answer['target'], ids)

  def answer(prompt: Prompt):
    import numpy as np

    return {'numbers': np.array(prompt.metadata['numbers']), 'target': prompt.answer}

  return TokenTwin(prompts=prompts, reward=token_reward, answer=answer)


def _check(num_numbers: int, low: int, high: int, max_value: int, operators: str) -> None:
  if num_numbers < 2:
    raise ValueError(f'countdown: num_numbers={num_numbers}; at least 2 are needed')
  if not 1 <= low <= high <= steps.MAX_NUMBER or not 1 <= max_value <= steps.MAX_NUMBER:
    raise ValueError(
      f'countdown: low={low}, high={high}, max_value={max_value}; needs 1 ≤ low ≤ high and no '
      f'number above {steps.MAX_NUMBER}'
    )
  if not operators or set(operators) - set('+-*'):
    raise ValueError(f"countdown: operators={operators!r}; some of '+-*' are needed")


def _make(rules, held_out_below: int, seed: int, split: str, index: int, prompt_id: int) -> Prompt:
  num_numbers, low, high, max_value, operators = rules
  # Proposals are uniform over multisets; taking a target slot out of a fixed number of slots, and
  # none if the multiset has fewer targets, makes them uniform over problems.
  ways = [k * (k - 1) // 2 * len(operators) for k in range(2, num_numbers + 1)]
  num_slots = min(max_value, math.prod(ways))

  def propose(draw: procedural.Draw):
    numbers = draw.multiset(num_numbers, low, high)
    targets = _targets(numbers, max_value, operators)
    slot = draw.below(num_slots)
    if slot >= len(targets):
      return None
    held_out = procedural.mix((*numbers, targets[slot])) < held_out_below
    return (numbers, targets[slot]) if held_out == (split == 'test') else None

  draw = procedural.Draw('countdown', seed, split, index)
  numbers, target = procedural.first_accepted(
    draw, propose, f'countdown: no problem found for the {split} split; widen the ranges'
  )
  numbers = tuple(draw.shuffled(numbers))
  return Prompt(
    text=f'{",".join(map(str, numbers))}>{target}=',
    prompt_id=prompt_id,
    answer=target,
    metadata={'numbers': numbers},
  )


@functools.lru_cache(maxsize=200_000)
def _targets(numbers: tuple[int, ...], max_value: int, operators: str) -> tuple[int, ...]:
  return tuple(sorted(_counts(numbers, max_value, operators)))


@functools.lru_cache(maxsize=200_000)
def _counts(numbers: tuple[int, ...], max_value: int, operators: str) -> dict[int, int]:
  """Target → number of ways, as written, to reach it from sorted `numbers`."""
  if len(numbers) == 1:
    return {numbers[0]: 1}
  total: dict[int, int] = {}
  for _, rest in _moves(numbers, max_value, operators):
    for target, count in _counts(rest, max_value, operators).items():
      total[target] = total.get(target, 0) + count
  return total


@functools.lru_cache(maxsize=200_000)
def _moves(
  numbers: tuple[int, ...], max_value: int, operators: str
) -> tuple[tuple[Step, tuple[int, ...]], ...]:
  """The different steps from sorted `numbers`, each with the sorted numbers after it."""
  moves = {}
  for i, a in enumerate(numbers):
    for j, b in enumerate(numbers):
      if i == j:
        continue
      rest = [x for k, x in enumerate(numbers) if k not in (i, j)]
      for operator in operators:
        value = steps.apply(a, operator, b)
        if 1 <= value <= max_value:
          moves[Step(a, operator, b, value)] = tuple(sorted([*rest, value]))
  return tuple(moves.items())
