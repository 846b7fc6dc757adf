"""Expressions of numbers: their exact value and what stands in them; nothing is executed."""

from __future__ import annotations

import ast
from fractions import Fraction

_LONGEST = 200  # characters
_MARKS = str.maketrans({'×': '*', '÷': '/', '−': '-', '^': '**', ',': '', '$': ''})
_ALLOWED = 'only numbers, + - * / ** % and brackets can be computed'


class ExpressionError(ValueError):
  """A text that has no value; the message says why."""


def parse(text: str) -> ast.expr:
  """The tree of an expression.

  Raises:
    ExpressionError: the text is none.
  """
  text = text.translate(_MARKS).strip()
  if not text or len(text) > _LONGEST:
    raise ExpressionError(f'an expression has 1 to {_LONGEST} characters')
  try:
    return ast.parse(text, mode='eval').body
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    raise ExpressionError(f'{text[:40]!r} is no expression') from None


def value(text: str, *, max_digits: int = 40) -> Fraction:
  """The exact value of an expression of numbers, + − * / ** % and brackets.

  Args:
    text: up to 200 characters; commas and $ do not matter.
    max_digits: of the largest number on the way.

  Raises:
    ExpressionError: no expression, something else than numbers, a division by 0, a number that is
      too large.
  """
  try:
    return _value(parse(text), 10**max_digits)
  except RecursionError:
    raise ExpressionError('an expression with too many brackets') from None


def numbers(text: str) -> list[Fraction]:
  """The numbers that stand in an expression, in their order.

  Raises:
    ExpressionError: the text is no expression.
  """
  found = [n for n in ast.walk(parse(text)) if isinstance(n, ast.Constant)]
  found.sort(key=lambda node: node.col_offset)
  return [_number(node.value) for node in found]


def _number(found: object) -> Fraction:
  if isinstance(found, bool) or not isinstance(found, int | float):
    raise ExpressionError(_ALLOWED)
  try:
    return Fraction(str(found))
  except ValueError:  # inf
    raise ExpressionError('a number is too large') from None


def _value(node: ast.expr, largest: int) -> Fraction:
  match node:
    case ast.Constant(value=found):
      out = _number(found)
    case ast.UnaryOp(op=ast.USub(), operand=operand):
      out = -_value(operand, largest)
    case ast.UnaryOp(op=ast.UAdd(), operand=operand):
      out = _value(operand, largest)
    case ast.BinOp(left=left, op=op, right=right):
      out = _apply(op, _value(left, largest), _value(right, largest), largest)
    case _:
      raise ExpressionError(_ALLOWED)
  if max(abs(out.numerator), out.denominator) > largest:
    raise ExpressionError('a number is too large')
  return out


def _apply(op: ast.operator, a: Fraction, b: Fraction, largest: int) -> Fraction:
  match op:
    case ast.Add():
      return a + b
    case ast.Sub():
      return a - b
    case ast.Mult():
      return a * b
    case ast.Div() | ast.Mod() if not b:
      raise ExpressionError('a division by 0')
    case ast.Div():
      return a / b
    case ast.Mod():
      return a % b
    case ast.Pow() if b.denominator == 1:
      size = max(abs(a.numerator), a.denominator)
      if abs(b) * max(size.bit_length() - 1, 0) > largest.bit_length():
        raise ExpressionError('a number is too large')
      if not a and b < 0:
        raise ExpressionError('a division by 0')
      return a**b.numerator
  raise ExpressionError(_ALLOWED)
