"""Exact algebra in which two forms of one value are equal and forms of two values are not.

A `Quotient` is one sum of terms over another. A term is a rational number × √d × i^k × powers of
symbols, with d a positive integer without square factors; since the √d, i and the symbols are
independent over the rationals, a sum has one form, and a/b = c/d exactly if a·d − b·c has no term.
What has no place in there (a sine, a root of a sum) is a symbol of its own, `opaque`: then forms
that agree are equal, and forms that differ are undecided.

Every operation is paid from a budget, so no input costs more than some milliseconds.
"""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

OPAQUE = '?'  # in the names of symbols that stand for what has no exact form

MAX_BITS = 16_384  # of a numerator or denominator
_UNITS = 6000  # of work in one expression

Powers = tuple[tuple[str, int], ...]
Term = tuple[int, int, Powers]  # d of √d, exponent of i (0 or 1), powers of symbols
Sum = dict[Term, Fraction]

ONE: Term = (1, 0, ())


class Unreadable(ValueError):
  """Not in this algebra."""


class Refused(ValueError):
  """A formula that equals nothing, whatever a slower path would say."""


class TooLarge(Refused):
  """Over the bounds of this algebra."""


class Undefined(Refused):
  """Without a value."""


class Budget:
  """The work that one expression may cost."""

  def __init__(self, units: int = _UNITS) -> None:
    self._left = units

  def pay(self, units: int) -> None:
    self._left -= units
    if self._left < 0:
      raise TooLarge('more work than an answer is worth')


@dataclasses.dataclass(frozen=True)
class Quotient:
  """above / below, both sums of terms.

  Attributes:
    above: without terms if the value is 0.
    below: never without terms.
  """

  above: Sum
  below: Sum

  @property
  def rational(self) -> Fraction | None:
    """The value if it is a rational number."""
    if not self.above:
      return Fraction(0)
    if self.above.keys() == self.below.keys() == {ONE}:
      return self.above[ONE] / self.below[ONE]
    # 2√3 / √3: a rational multiple, term by term.
    if self.above.keys() != self.below.keys():
      return None
    ratios = {self.above[term] / self.below[term] for term in self.above}
    return ratios.pop() if len(ratios) == 1 else None

  @property
  def is_opaque(self) -> bool:
    """Whether it has parts whose value this algebra does not know."""
    return any(OPAQUE in name for name in self.symbols)

  @property
  def symbols(self) -> frozenset[str]:
    """The names in it."""
    return frozenset(n for part in (self.above, self.below) for term in part for n, _ in term[2])

  @property
  def key(self) -> str:
    """A text that is equal for equal forms; unequal values never share one."""
    value = self
    if len(self.below) == 1:
      (divisor, factor), *_ = self.below.items()
      inverse, scale = _inverse(divisor, factor)
      value = Quotient(_product(self.above, {inverse: scale}, Budget()), {ONE: Fraction(1)})
    return '/'.join(
      '+'.join(f'{factor}·{term}' for term, factor in sorted(part.items()))
      for part in (value.above, value.below)
    )


def number(value: Fraction | int) -> Quotient:
  """A rational number."""
  value = Fraction(value)
  _check(value)
  return Quotient({ONE: value} if value else {}, {ONE: Fraction(1)})


def symbol(name: str) -> Quotient:
  """A variable, or a constant that is no algebraic number."""
  return Quotient({(1, 0, ((name, 1),)): Fraction(1)}, {ONE: Fraction(1)})


def imaginary() -> Quotient:
  """i."""
  return Quotient({(1, 1, ()): Fraction(1)}, {ONE: Fraction(1)})


def opaque(name: str, *arguments: Quotient) -> Quotient:
  """A function of its arguments, of which only the form is known."""
  return symbol(f'{OPAQUE}{name}({";".join(a.key for a in arguments)})')


def plus(a: Quotient, b: Quotient, budget: Budget) -> Quotient:
  """a + b."""
  if a.below == b.below:
    return Quotient(_total(a.above, b.above), a.below)
  left, right = _product(a.above, b.below, budget), _product(b.above, a.below, budget)
  return Quotient(_total(left, right), _product(a.below, b.below, budget))


def minus(a: Quotient) -> Quotient:
  """−a."""
  return Quotient({term: -factor for term, factor in a.above.items()}, a.below)


def times(a: Quotient, b: Quotient, budget: Budget) -> Quotient:
  """a · b."""
  return Quotient(_product(a.above, b.above, budget), _product(a.below, b.below, budget))


def over(a: Quotient, b: Quotient, budget: Budget) -> Quotient:
  """a / b.

  Raises:
    Undefined: b is 0.
  """
  if not b.above:
    raise Undefined('a division by 0')
  return Quotient(_product(a.above, b.below, budget), _product(a.below, b.above, budget))


def equal(a: Quotient, b: Quotient) -> bool:
  """Whether two forms agree.

  Raises:
    TooLarge: comparing them is too much work.
  """
  budget = Budget()
  left, right = _product(a.above, b.below, budget), _product(b.above, a.below, budget)
  return left == right


def proportional(a: Quotient, b: Quotient) -> bool:
  """Whether a = c·b with a rational number c that is not 0."""
  if not a.above or not b.above:
    return not a.above and not b.above
  budget = Budget()
  left, right = _product(a.above, b.below, budget), _product(b.above, a.below, budget)
  return left.keys() == right.keys() and len({left[term] / right[term] for term in left}) == 1


def _total(a: Sum, b: Sum) -> Sum:
  total = dict(a)
  for term, factor in b.items():
    total[term] = total.get(term, 0) + factor
    if not total[term]:
      del total[term]
  return total


def _product(a: Sum, b: Sum, budget: Budget) -> Sum:
  product: Sum = {}
  budget.pay(len(a) * len(b))
  for (d, i, powers), factor in a.items():
    for (other_d, other_i, other_powers), other in b.items():
      common = math.gcd(d, other_d)
      value = factor * other * common * (-1 if i and other_i else 1)
      budget.pay(_check(value) // 64 + len(powers) + len(other_powers))
      term = (d * other_d // common**2, i ^ other_i, _merged(powers, other_powers))
      total = product.get(term, 0) + value
      if total:
        product[term] = total
      else:
        del product[term]
  return product


def _merged(a: Powers, b: Powers) -> Powers:
  if not a or not b:
    return a or b
  powers = dict(a)
  for name, exponent in b:
    powers[name] = powers.get(name, 0) + exponent
  return tuple(sorted((name, exponent) for name, exponent in powers.items() if exponent))


def _inverse(term: Term, factor: Fraction) -> tuple[Term, Fraction]:
  d, i, powers = term
  inverse = (d, i, tuple((name, -exponent) for name, exponent in powers))
  return inverse, Fraction(-1 if i else 1) / (factor * d)


def _check(value: Fraction) -> int:
  bits = max(value.numerator.bit_length(), value.denominator.bit_length())
  if bits > MAX_BITS:
    raise TooLarge(f'a number of {bits} bits')
  return bits


def approximate(value: Quotient) -> float | None:
  """The value of what has no symbol but π and e, and no imaginary part."""
  known = {'\\pi': math.pi, 'e': math.e}
  if value.symbols - known.keys():
    return None
  sums = []
  for part in (value.above, value.below):
    if any(i for _, i, _ in part):
      return None
    sums.append(
      math.fsum(
        float(factor) * math.sqrt(d) * math.prod(known[name] ** power for name, power in powers)
        for (d, _, powers), factor in part.items()
      )
    )
  return sums[0] / sums[1] if sums[1] else None
