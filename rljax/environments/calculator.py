"""A calculator: exact arithmetic on numbers, with bounds; nothing is executed."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from rljax.environments.tools import ToolError
from rljax.rewards import expressions


def calculator(arguments: Any, *, max_digits: int = 40, max_decimals: int = 10) -> str:
  """The value of an expression of numbers, + − * / ** % and brackets.

  Exact: an integer, or a decimal; one that does not end is rounded.

  Args:
    arguments: the expression, or {'expression': …}.
    max_digits: of the largest number on the way.
    max_decimals: decimals of the result.

  Raises:
    ToolError: no expression, a division by 0, a number that is too large.

  Examples:
    >>> print(environments.calculator('12 * (3 + 4)'))
    84
    >>> print(environments.calculator({'expression': '1/3'}))
    0.3333
  """
  if isinstance(arguments, Mapping):
    arguments = arguments.get('expression', '')
  try:
    value = expressions.value(str(arguments), max_digits=max_digits)
  except expressions.ExpressionError as error:
    raise ToolError(str(error)) from None
  return str(value.numerator) if value.denominator == 1 else _rounded(value, max_decimals)


def _rounded(value: Fraction, decimals: int) -> str:
  """Half to even, without zeros at the end."""
  scaled = round(value * 10**decimals)
  digits = f'{abs(scaled):0{decimals + 1}d}'
  text = f'{digits[:-decimals]}.{digits[-decimals:]}'.rstrip('0').rstrip('.')
  return f'-{text}' if scaled < 0 else text
