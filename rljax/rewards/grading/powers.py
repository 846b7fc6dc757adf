"""Powers and roots in the algebra of `terms`."""

from __future__ import annotations

import math
from fractions import Fraction

from rljax.rewards.grading import terms
from rljax.rewards.grading.terms import Budget, Quotient, TooLarge, Undefined

_MAX_POWER = 24  # of a sum
_MAX_TERMS = 500  # of the power of a sum, before equal ones are added
_MAX_DEGREE = 64  # of a root
_MAX_RADICAND = 10**8  # its square factors are found by trial division


def power(base: Quotient, exponent: Quotient, budget: Budget) -> Quotient:
  """base ^ exponent; opaque where the exponent is no integer and the value no root of a number."""
  value = exponent.rational
  if value is None:
    return terms.opaque('power', base, exponent)
  if value.denominator != 1:
    inner = power(base, terms.number(value.numerator), budget)
    return root(inner, value.denominator)
  if not base.above:
    if value <= 0:
      raise Undefined('0 to a power that is not positive')
    return base
  count, rational = abs(int(value)), base.rational
  if rational is not None:
    bits = max(rational.numerator.bit_length(), rational.denominator.bit_length())
    if abs(rational) != 1 and count * max(bits - 1, 1) > terms.MAX_BITS:
      raise TooLarge(f'a number of {count * bits} bits')
    result = terms.number(rational ** (count if abs(rational) != 1 else count % 2))
  else:
    size = max(len(base.above), len(base.below))
    if size > 1 and (count > _MAX_POWER or math.comb(count + size - 1, count) > _MAX_TERMS):
      raise TooLarge(f'the power {count} of a sum of {size} terms')
    result, square = terms.number(1), base
    if count > terms.MAX_BITS:
      raise TooLarge(f'the power {count}')
    while count:
      if count & 1:
        result = terms.times(result, square, budget)
      count >>= 1
      if count:
        square = terms.times(square, square, budget)
  return terms.over(terms.number(1), result, budget) if value < 0 else result


def root(base: Quotient, degree: int) -> Quotient:
  """The root of a rational number, exact where it is a rational multiple of some √d."""
  value = base.rational
  if value is None or not 1 <= degree <= _MAX_DEGREE:
    return terms.opaque('root', base, terms.number(degree))
  if degree == 2 or (degree == 1 and value >= 0):
    return _square_root(value, base) if degree == 2 else base
  sign = -1 if value < 0 else 1
  above, below = _exact_root(abs(value.numerator), degree), _exact_root(value.denominator, degree)
  if above is None or below is None or (sign < 0 and degree % 2 == 0):
    return terms.opaque('root', base, terms.number(degree))
  return terms.number(Fraction(sign * above, below))


def _square_root(value: Fraction, base: Quotient) -> Quotient:
  if not value:
    return base
  # √(p/q) = √(pq)/q
  radicand, outside = abs(value.numerator) * value.denominator, 1
  exact = math.isqrt(radicand)
  if exact * exact == radicand:
    outside, radicand = exact, 1
  elif radicand > _MAX_RADICAND:
    return terms.opaque('root', base, terms.number(2))
  factor = 2
  while factor * factor <= radicand:
    while radicand % (factor * factor) == 0:
      radicand //= factor * factor
      outside *= factor
    factor += 1
  term = (radicand, int(value < 0), ())
  return Quotient({term: Fraction(outside, value.denominator)}, {terms.ONE: Fraction(1)})


def _exact_root(value: int, degree: int) -> int | None:
  if value.bit_length() > 512:
    return None
  low, high = 0, 1 << (value.bit_length() // degree + 1)
  while low < high:
    middle = (low + high + 1) // 2
    low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
  return low if low**degree == value else None
