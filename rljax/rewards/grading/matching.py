"""Two values that were read: the decision, by parts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from rljax.rewards.grading import expressions, notation, symbolic, terms, units, values, wording
from rljax.rewards.grading.golds import Gold
from rljax.rewards.grading.notation import squeezed
from rljax.rewards.grading.terms import Quotient, Unreadable
from rljax.rewards.grading.values import Value

_UNORDERED = ('set', 'list')
# Of `5 \\approx 6`, math-verify reads the 5.
_RELATION = re.compile(
  r'[<>≈?…]|\\(?:neq?|l?dots|cdots|to|sim|simeq|equiv|cong|mod|pmod|implies|iff|therefore|ge|le|'
  r'[Rr]ightarrow|[Ll]eftarrow|Longrightarrow|longrightarrow|mapsto|propto)(?![A-Za-z])'
)
_VARIABLE = re.compile(r'[A-Za-z](?:_\w+)?(?:\(\w\))?')
_FORMULAS = ('number', 'expression', 'formula')


class Verdict(NamedTuple):
  """What a comparison found.

  Attributes:
    equal: whether the answer is the gold answer.
    reason: why, in a few words.
    slow: whether the symbolic path was asked.
    undecided: neither path could tell; then it is not equal.
  """

  equal: bool
  reason: str
  slow: bool = False
  undecided: bool = False


class Comparison:
  """One comparison: decides by parts, remembers whether it asked the symbolic path."""

  def __init__(self, gold: Gold, use_symbolic: bool) -> None:
    self._gold, self._use_symbolic = gold, use_symbolic
    self._slow = False
    self._seconds = symbolic.CPU_SECONDS  # left for all pairs of formulas together

  def verdict(self, gold: Value, given: Value) -> Verdict:
    same, reason = self._decide(gold, given)
    return Verdict(bool(same), reason, self._slow, same is None)

  def _decide(self, gold: Value, given: Value) -> tuple[bool | None, str]:
    """(equal, why); None where no path can tell."""
    if gold.name and given.name and not _same_name(gold.name, given.name):
      return False, f'{given.name} where {gold.name} is asked'
    if gold.kind == 'choice':
      return self._choices(gold, given)
    if gold.kind == 'text':
      return wording.words(gold, given)
    if given.kind == 'choice' and gold.kind == 'expression':
      return given.text == gold.text, f'letter {given.text}'
    if given.kind in ('text', 'choice'):
      return False, f'words where {gold.kind} is asked'
    if 'based' in (gold.kind, given.kind):
      return wording.based(gold, given)
    if 'clock' in (gold.kind, given.kind):
      return wording.clocks(gold, given)
    if 'equation' in (gold.kind, given.kind):
      return self._equations(gold, given)
    if gold.kind in _FORMULAS and given.kind in _FORMULAS:
      return self._formulas(gold, given)
    return self._containers(gold, given)

  def _formulas(self, gold: Value, given: Value) -> tuple[bool | None, str]:
    if '∞' in gold.text or '∞' in given.text:
      same = squeezed(gold.text).lstrip('+') == squeezed(given.text).lstrip('+')
      return same, 'infinity'
    if gold.unit and not given.unit and given.text.lower().endswith(gold.unit):
      # The letters of an unknown unit were read as a product.
      given = values.read(given.text[: -len(gold.unit)].strip(), 'number')
    percents = 'percent' in (gold.unit, given.unit)
    if not percents and units.contradict(gold.unit, given.unit):
      return False, f'{given.unit} where {gold.unit} is asked'
    if gold.quotient is None or given.quotient is None:
      return self._symbolic(gold, given)
    for one, other in _readings(gold, given):
      if terms.equal(one, other) or self._is_near(one, other):
        return True, 'equal values'
    opaque = gold.quotient.is_opaque or given.quotient.is_opaque
    if opaque and not (given.kind == 'number' and '.' in given.text):
      return self._symbolic(gold, given)
    return False, 'another value'

  def _is_near(self, gold: Quotient, given: Quotient) -> bool:
    if not self._gold.tolerance and not self._gold.precision:
      return False
    one, other = terms.approximate(gold), terms.approximate(given)
    if one is None or other is None:
      return False
    return abs(one - other) <= max(self._gold.tolerance * abs(one), self._gold.precision)

  def _symbolic(self, gold: Value, given: Value) -> tuple[bool | None, str]:
    if _RELATION.search(given.text) and not _RELATION.search(gold.text):
      return False, 'a relation where a value is asked'
    if reason := symbolic.costly(given.text) or symbolic.costly(gold.text):
      return None, reason
    if not self._use_symbolic:
      return None, 'undecided without the symbolic path'
    if self._seconds <= 0:
      return None, 'symbolic: no time left'
    self._slow, begin = True, time.process_time()
    found = symbolic.equal(notation.latex(gold.text), notation.latex(given.text), self._seconds)
    self._seconds -= time.process_time() - begin
    return found

  def _equations(self, gold: Value, given: Value) -> tuple[bool | None, str]:
    if gold.kind != 'equation' and given.kind == 'equation':
      left, right = (side.quotient for side in given.parts)
      if left is not None and right is not None and not left.symbols | right.symbols:
        # `2 + 3 = 5`: worked out, and true
        if not terms.equal(left, right):
          return False, 'an equation that does not hold'
        return self._decide(gold, given.parts[1])
    one, other = _difference(gold), _difference(given)
    if one is None or other is None:
      formulas = gold.kind in ('equation', *_FORMULAS) and given.kind in ('equation', *_FORMULAS)
      if formulas and gold.kind == 'equation' and (given.kind == 'equation' or given.name):
        return self._symbolic(gold, given)
      return False, f'{given.kind} where {gold.kind} is asked'
    if terms.proportional(one, other):
      return True, 'one equation'
    if one.is_opaque or other.is_opaque:
      return self._symbolic(gold, given)
    return False, 'another equation'

  def _containers(self, gold: Value, given: Value) -> tuple[bool | None, str]:
    gold, given = _as_vector(gold, given), _as_vector(given, gold)
    unordered = gold.kind in _UNORDERED and given.kind in _UNORDERED
    if gold.kind == 'ordered':
      given = given._replace(kind='ordered') if given.kind in _UNORDERED else given
    if not unordered and gold.kind != given.kind:
      return False, f'{given.kind} where {gold.kind} is asked'
    if gold.mark != given.mark and (len(gold.parts) < 3 or gold.kind != 'sequence'):
      return False, f'{given.mark or "no brackets"} where {gold.mark or "none"} is asked'
    unordered = unordered or gold.kind == 'union'
    if 'set' in (gold.kind, given.kind):
      return self._covers(gold.parts, given.parts, once=False)
    if len(gold.parts) != len(given.parts):
      return False, f'{len(given.parts)} parts where {len(gold.parts)} are asked'
    if unordered:
      return self._covers(gold.parts, given.parts, once=True)
    undecided = None
    for one, other in zip(gold.parts, given.parts):
      same, reason = self._decide(one, other)
      if same is False:
        return False, reason
      undecided = reason if same is None else undecided
    return (None, undecided) if undecided else (True, 'equal parts')

  def _covers(
    self, gold: tuple[Value, ...], given: tuple[Value, ...], *, once: bool
  ) -> tuple[bool | None, str]:
    """Whether each part of either has an equal in the other; `once`: one of its own."""
    left, undecided = list(given), False
    for one in gold:
      found = [self._decide(one, other)[0] for other in left]
      if True not in found:
        if None not in found:
          return False, f'{one.text} is missing'
        undecided = True
      elif once:
        del left[found.index(True)]
    for other in () if once else given:
      found = [self._decide(one, other)[0] for one in gold]
      if True not in found:
        if None not in found:
          return False, f'{other.text} is too much'
        undecided = True
    return (None, 'elements undecided') if undecided else (True, 'equal parts')

  def _choices(self, gold: Value, given: Value) -> tuple[bool | None, str]:
    if given.kind == 'choice':
      return given.text == gold.text, f'letter {given.text}'
    said = wording.plain(given.text)
    letters = [letter for letter, text in self._gold.options if wording.plain(text) == said]
    if letters == [gold.text]:
      return True, 'the text of the option'
    return False, 'no letter of an option'


def _readings(gold: Value, given: Value) -> Iterator[tuple[Quotient, Quotient]]:
  """The pairs of values that two numbers may mean, by their percent signs."""
  one, other, hundredth = gold.quotient, given.quotient, terms.number(Fraction(1, 100))
  value = one.rational
  if given.unit != 'percent' or gold.unit == 'percent' or value is None or abs(value) >= 1:
    yield one, other  # both signs or none; or it is left out, but `0.5` is no `0.5%`
  budget = terms.Budget()
  if gold.unit == 'percent' and given.unit != 'percent':
    yield terms.times(one, hundredth, budget), other
  if given.unit == 'percent' and gold.unit != 'percent':
    yield one, terms.times(other, hundredth, budget)


def _difference(value: Value) -> Quotient | None:
  """left − right of an equation; `y = 2x` is one too, `x = 5` is only a number with a name."""
  budget = terms.Budget()
  if value.kind == 'equation':
    left, right = (side.quotient for side in value.parts)
  elif value.name and value.quotient is not None and value.quotient.symbols:
    try:
      left, right = expressions.read(value.name), value.quotient
    except Unreadable:
      return None
  else:
    return None
  if left is None or right is None:
    return None
  return terms.plus(left, terms.minus(right), budget)


def _same_name(one: str, other: str) -> bool:
  names = [re.sub(r'[«»{}\\]', '', name) for name in (one, other)]
  # 'Area' and 'A' may be one; two variables are not.
  variables = [_VARIABLE.fullmatch(name) or name in expressions.NAMES for name in names]
  return names[0] == names[1] or not all(variables)


def _as_vector(value: Value, other: Value) -> Value:
  """A matrix of one column as the point that it is, where the other is one."""
  if value.kind == 'matrix' and other.kind == 'sequence' and not value.mark:
    if all(len(row.parts) == 1 for row in value.parts):
      return Value('sequence', value.text, tuple(row.parts[0] for row in value.parts), '()')
  return value
