"""Arithmetic: the value of an expression, in worked steps.

    prompt      3+4*5-2=
    completion  4*5=20,3+20=23,23-2=21   (products first, then from left to right)

Expressions over the same operands are on the same side of the split, whatever their order and
their operators.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from rljax.prompts import Prompt, Task, TokenTwin
from rljax.tasks import procedural, steps
from rljax.tasks.steps import ALPHABET as ALPHABET
from rljax.tasks.steps import Step


def reward(completion: str, answer: int, *, direct: bool = False) -> float:
  """1 if the completion is made of steps and the last result is the answer, else 0.

  The way there is free: wrong steps that end at the right value count.

  Args:
    completion: `a∘b=c,a∘b=c`.
    answer: the value of the expression.
    direct: whether the value alone is right, too.
  """
  worked = steps.parse(completion)
  if worked is None:
    return float(direct and completion == str(answer))
  return float(worked[-1].result == answer)


def arithmetic(
  *,
  num_operands: int = 3,
  low: int = 1,
  high: int = 20,
  max_value: int = 999,
  operators: str = '+-*',
  direct_share: float = 0.0,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Expressions with worked steps; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  Operands and operators are drawn uniformly; expressions with a step outside 0 … `max_value` are
  left out.

  Args:
    num_operands: operands of an expression, ≥ 2.
    low, high: range of the operands.
    max_value: largest result of a step.
    operators: of '+-*'.
    direct_share: share of the prompts whose demonstration is the value without steps, as a
      fraction; above 0 such an answer is right, too.
    num_train: training prompts; an expression may come up more than once.
    num_test: held-out expressions, all different.
    test_fraction: share of all sets of operands that is held out, as a fraction; the split depends
      on nothing else.
    seed: of the expressions, not of the split.

  Raises:
    ValueError: an impossible range, or fewer than `num_test` held-out expressions.

  Examples:
    >>> task = tasks.arithmetic(num_train=8, num_test=4)
    >>> prompt = task.train[0]
    >>> print(prompt.text, task.demonstrate(prompt))
    3*18*12= 3*18=54,54*12=648
  """
  _check(num_operands, low, high, max_value, operators)
  if not 0 <= direct_share <= 1:
    raise ValueError(f'arithmetic: direct_share={direct_share}; needs a fraction')
  make = functools.partial(
    _make,
    (num_operands, low, high, max_value, operators),
    procedural.threshold(test_fraction),
    seed,
  )
  return Task(
    name='arithmetic',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      lambda place, prompt_id: make('test', place, prompt_id),
      lambda prompt: prompt.text,
      f'arithmetic: too few expressions for num_test={num_test}; raise high, num_operands or '
      'test_fraction',
    ),
    reward={'name': 'tasks.arithmetic.reward', 'direct': True}
    if direct_share
    else 'tasks.arithmetic.reward',
    demonstrate=functools.partial(demonstrate, direct_share=direct_share),
    candidates=candidates,
    well_formed=steps.well_formed,
    license='Apache-2.0 (generated)',
    twin=None
    if direct_share
    else token_twin(
      num_operands=num_operands,
      low=low,
      high=high,
      max_value=max_value,
      operators=operators,
      test_fraction=test_fraction,
    ),
  )


def canonical(prompt: Prompt) -> tuple[int, ...]:
  """The sorted operands: what the split keeps together."""
  return tuple(sorted(prompt.metadata['operands']))


def demonstrate(prompt: Prompt, *, direct_share: float = 0.0) -> str:
  """The steps: products first, then from left to right; or the value alone."""
  if procedural.Draw('direct', prompt.text).below(1000) < 1000 * direct_share:
    return str(prompt.answer)
  return steps.write(_work(prompt.metadata['operands'], prompt.metadata['operators']))


def candidates(prompt: Prompt, draw: int) -> list[tuple[str, float]]:
  """Right steps (1), right ones but for one on the way (½), and a wrong end (0), in random order.

  Two operands leave no step on the way.
  """
  random = procedural.Draw('candidates', prompt.text, draw)
  worked = _work(prompt.metadata['operands'], prompt.metadata['operators'])
  found = [(steps.write(worked), 1.0)]
  places = [(len(worked) - 1, 0.0)]
  if len(worked) > 1:
    places.append((random.below(len(worked) - 1), 0.5))
  for place, utility in places:
    wrong = worked[place]._replace(result=worked[place].result + random.between(1, 9))
    found.append((steps.write([*worked[:place], wrong, *worked[place + 1 :]]), utility))
  return random.shuffled(found)


def token_twin(
  *,
  num_operands: int = 3,
  low: int = 1,
  high: int = 20,
  max_value: int = 999,
  operators: str = '+-*',
  test_fraction: float = 0.1,
  ids: Sequence[int] | None = None,
) -> TokenTwin:
  """Training prompts and the reward on token arrays.

  Args:
    num_operands, low, high, max_value, operators, test_fraction: as in `arithmetic`.
    ids: token id of each character of ALPHABET; those of `tokenization.characters` by default.
  """
  _check(num_operands, low, high, max_value, operators)
  ids = tuple(range(2, 2 + len(ALPHABET))) if ids is None else tuple(ids)

  def prompts(key, num_prompts: int):
    from rljax.tasks import token_steps

    operands, chosen, value = token_steps.arithmetic_problems(
      key,
      num_prompts,
      num_operands=num_operands,
      low=low,
      high=high,
      max_value=max_value,
      operators=operators,
      held_out_below=procedural.threshold(test_fraction),
    )
    pieces = [operands[:, 0]]
    for i in range(1, num_operands):
      pieces += [token_steps.Chosen(operators, chosen[:, i - 1]), operands[:, i]]
    tokens, length = token_steps.write([*pieces, '='], ids, high)
    return tokens, length, {'value': value}

  def token_reward(tokens, length, answer):
    from rljax.tasks import token_steps

    return token_steps.arithmetic_reward(tokens, length, answer['value'], ids)

  return TokenTwin(
    prompts=prompts, reward=token_reward, answer=lambda prompt: {'value': prompt.answer}
  )


def _check(num_operands: int, low: int, high: int, max_value: int, operators: str) -> None:
  if num_operands < 2:
    raise ValueError(f'arithmetic: num_operands={num_operands}; at least 2 are needed')
  if not 0 <= low <= high <= max_value <= steps.MAX_NUMBER:
    raise ValueError(
      f'arithmetic: low={low}, high={high}, max_value={max_value}; needs '
      f'0 ≤ low ≤ high ≤ max_value ≤ {steps.MAX_NUMBER}'
    )
  if not operators or set(operators) - set('+-*'):
    raise ValueError(f"arithmetic: operators={operators!r}; some of '+-*' are needed")


def _make(rules, held_out_below: int, seed: int, split: str, index: int, prompt_id: int) -> Prompt:
  num_operands, low, high, max_value, operators = rules

  def propose(draw: procedural.Draw):
    operands = tuple(draw.between(low, high) for _ in range(num_operands))
    if (procedural.mix(sorted(operands)) < held_out_below) != (split == 'test'):
      return None
    chosen = tuple(draw.one_of(operators) for _ in range(num_operands - 1))
    worked = _work(operands, chosen)
    if not all(0 <= step.result <= max_value for step in worked):
      return None
    return operands, chosen, worked[-1].result

  operands, chosen, value = procedural.first_accepted(
    procedural.Draw('arithmetic', seed, split, index),
    propose,
    f'arithmetic: no expression found for the {split} split; widen the ranges',
  )
  text = str(operands[0]) + ''.join(f'{o}{x}' for o, x in zip(chosen, operands[1:]))
  return Prompt(
    text=f'{text}=',
    prompt_id=prompt_id,
    answer=value,
    metadata={'operands': operands, 'operators': chosen},
  )


def _work(operands: Sequence[int], operators: Sequence[str]) -> list[Step]:
  values, rest, worked = list(operands), list(operators), []
  while rest:
    at = rest.index('*') if '*' in rest else 0
    left, right = values[at], values[at + 1]
    value = steps.apply(left, rest[at], right)
    worked.append(Step(left, rest.pop(at), right, value))
    values[at : at + 2] = [value]
  return worked
