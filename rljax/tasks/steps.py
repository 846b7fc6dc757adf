"""Worked steps `a∘b=c,a∘b=c,…`: the format that arithmetic and countdown share."""

from __future__ import annotations

import re
from typing import NamedTuple

ALPHABET = '0123456789+-*=,>'
"""All characters of prompts and completions, for `tokenization.characters`."""

MAX_NUMBER = 9999
"""Numbers have at most four digits, so that products fit int32 on a device."""

_NUMBER = '(0|[1-9][0-9]{0,3})'
_STEP = re.compile(rf'{_NUMBER}([-+*]){_NUMBER}={_NUMBER}')


class Step(NamedTuple):
  """`left operator right = result`, as written, right or wrong."""

  left: int
  operator: str
  right: int
  result: int

  def __str__(self) -> str:
    return f'{self.left}{self.operator}{self.right}={self.result}'

  @property
  def holds(self) -> bool:
    return apply(self.left, self.operator, self.right) == self.result


def apply(left: int, operator: str, right: int) -> int:
  """left ∘ right."""
  if operator == '+':
    return left + right
  return left - right if operator == '-' else left * right


def parse(completion: str) -> list[Step] | None:
  """The steps of a completion, None if it is not made of steps alone."""
  steps = []
  for piece in completion.split(','):
    match = _STEP.fullmatch(piece)
    if match is None:
      return None
    left, operator, right, result = match.groups()
    steps.append(Step(int(left), operator, int(right), int(result)))
  return steps


def write(steps) -> str:
  """The text of steps; `parse` is its inverse."""
  return ','.join(map(str, steps))


def sound(completion: str) -> dict[str, float]:
  """1 if the completion is made of steps that all hold, else 0: the way, not where it leads.

  Returns:
    'reward', and the component 'share' of the steps that hold, 0 without steps.
  """
  holds = [step.holds for step in parse(completion) or ()]
  return {'reward': float(bool(holds) and all(holds)), 'share': sum(holds) / max(len(holds), 1)}


def well_formed(completion: str) -> bool:
  """Whether the completion is made of steps alone, right or wrong."""
  return parse(completion) is not None


def larger_first(completion: str) -> str:
  """The same steps, the larger of two numbers first where their order does not matter."""
  return write(map(_turned, parse(completion) or ()))


def smaller_first(completion: str) -> str:
  """The same steps, the smaller of two numbers first where their order does not matter."""
  return write(_turned(step, -1) for step in parse(completion) or ())


def _turned(step: Step, sign: int = 1) -> Step:
  wrong = step.operator != '-' and sign * step.left < sign * step.right
  return step._replace(left=step.right, right=step.left) if wrong else step
