"""A calculator: exact arithmetic on numbers, with bounds; nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from rljax.environments.tools import ToolError

_LONGEST = 200  # characters of an expression
_MARKS = str.maketrans({'×': '*', '÷': '/', '−': '-', '^': '**', ',': '', '$': ''})


def calculator(arguments: Any, *, max_digits: int = 40, max_decimals: int = 10) -> str:
  """The value of an expression of numbers, + − * / ** % and brackets.

  Exact: an integer, or a decimal; one that does not end is rounded.

  Args:
    arguments: the expression, or {'expression': …}.
    max_digits: of the largest number on the way.
    max_decimals: decimals of the result.

  Raises:
    ToolError: no expression, a division by 0, a number that is too large.
  """
  if isinstance(arguments, Mapping):
    arguments = arguments.get('expression', '')
  text = str(arguments).translate(_MARKS).strip()
  if not text or len(text) > _LONGEST:
    raise ToolError(f'an expression has 1 to {_LONGEST} characters')
  try:
    tree = ast.parse(text, mode='eval')
    value = _value(tree.body, 10**max_digits)
  except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
    message = str(error) if isinstance(error, ToolError) else f'{text[:40]!r} is no expression'
    raise ToolError(message) from None
  if value.denominator == 1:
    return str(value.numerator)
  return f'{_rounded(value, max_decimals)}'


def _value(node: ast.expr, largest: int) -> Fraction:
  match node:
    case ast.Constant(value=bool() | complex() | str() | bytes()):
      raise ToolError('only numbers can be computed')
    case ast.Constant(value=int(value)):
      found = Fraction(value)
    case ast.Constant(value=float(value)):
      found = Fraction(str(value))
    case ast.UnaryOp(op=ast.USub(), operand=operand):
      found = -_value(operand, largest)
    case ast.UnaryOp(op=ast.UAdd(), operand=operand):
      found = _value(operand, largest)
    case ast.BinOp(left=left, op=op, right=right):
      found = _apply(op, _value(left, largest), _value(right, largest), largest)
    case _:
      raise ToolError('only numbers, + - * / ** % and brackets can be computed')
  if max(abs(found.numerator), found.denominator) > largest:
    raise ToolError('a number is too large')
  return found


def _apply(op: ast.operator, a: Fraction, b: Fraction, largest: int) -> Fraction:
  match op:
    case ast.Add():
      return a + b
    case ast.Sub():
      return a - b
    case ast.Mult():
      return a * b
    case ast.Div() | ast.Mod() if not b:
      raise ToolError('a division by 0')
    case ast.Div():
      return a / b
    case ast.Mod():
      return a % b
    case ast.Pow() if b.denominator == 1:
      size = max(abs(a.numerator), a.denominator)
      if abs(b) * max(size.bit_length() - 1, 0) > largest.bit_length():
        raise ToolError('a number is too large')
      if not a and b < 0:
        raise ToolError('a division by 0')
      return a**b.numerator
  raise ToolError('only numbers, + - * / ** % and brackets can be computed')


def _rounded(value: Fraction, decimals: int) -> str:
  """Half to even, without zeros at the end."""
  scaled = round(value * 10**decimals)
  digits = f'{abs(scaled):0{decimals + 1}d}'
  text = f'{digits[:-decimals]}.{digits[-decimals:]}'.rstrip('0').rstrip('.')
  return f'-{text}' if scaled < 0 else text
