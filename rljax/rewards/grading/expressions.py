"""Formulas in the plain notation → exact algebra (`terms`). A parser of its own: nothing is run."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from rljax.rewards.grading import powers, terms
from rljax.rewards.grading.terms import Budget, Quotient, TooLarge, Unreadable

MAX_LENGTH = 400  # characters of a formula
_MAX_DEPTH = 40
_MAX_DIGITS = 300
_MAX_FACTORIAL = 500

_TOKENS = re.compile(
  r'(?P<number>(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)'
  r'(?:[eE][+-]?[0-9]+(?![0-9A-Za-z]))?)'
  r'|(?P<command>\\[A-Za-z]+)|(?P<word>[A-Za-z]+)|(?P<sign>\*\*|[-+*/^_(){}\[\]!])|(?P<space>\s+)'
)
_SPACED = re.compile(r'(?<![0-9.,])[0-9]{1,3}(?: [0-9]{3})+(?![0-9,/]| ?/)')
FUNCTIONS = frozenset(
  'sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp lg det gcd lcm max min'
  ' deg arg Re Im'.split()
)
_GREEK = frozenset(
  'alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho'
  ' sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega'
  ' ell'.split()
)
_ENGLISH = frozenset(
  'an and are as at be but by for if is its no not of on one or so ten the to two yes'.split()
)
# Three letters that are a product of variables; others are words.
VARIABLES = frozenset('abc abd acd bcd def ijk mnp pqr rst uvw xyz'.split())
NAMES = FUNCTIONS | _GREEK | {'sqrt', 'frac', 'pi', 'overline'}
_STARTS = frozenset({'number', 'command', 'word', '(', '{', '['})
_CLOSING = {'(': ')', '{': '}', '[': ']'}


def read(text: str) -> Quotient:
  """The value of a formula such as `3\\sqrt{13}`, `x^2 - 1`, `1\\frac{4}{5}` or `2.5e-3`.

  A product may be written without a sign; an integer directly before a proper fraction of integers
  is a mixed number; `i` is the imaginary unit.

  Raises:
    Unreadable: it is no formula, or one that this algebra does not know.
    Refused: its value or its length is over a bound, or it has no value.
  """
  if len(text) > MAX_LENGTH:
    raise TooLarge(f'{len(text)} characters; at most {MAX_LENGTH} are read')
  reader = _Reader(_tokens(_SPACED.sub(lambda found: found[0].replace(' ', ''), text)))
  value = reader.sum(0)
  if reader.kind:
    raise Unreadable(f'{reader.text!r} is left over')
  return value


def _tokens(text: str) -> list[tuple[str, str]]:
  tokens, place = [], 0
  while place < len(text):
    found = _TOKENS.match(text, place)
    if not found:
      raise Unreadable(f'{text[place]!r}')
    kind, place = found.lastgroup, found.end()
    if kind == 'word':
      tokens += _word(found[0])
    elif kind != 'space':
      tokens.append((kind if kind != 'sign' else found[0].replace('**', '^'), found[0]))
  return tokens


def _word(word: str) -> list[tuple[str, str]]:
  if word in FUNCTIONS or word in ('sqrt', 'pi', 'frac') or (word in _GREEK and len(word) > 2):
    return [('command', f'\\{word}')]
  if (len(word) > 2 and word.lower() not in VARIABLES) or word.lower() in _ENGLISH:
    raise Unreadable(f'{word!r} is a word')
  return [('word', letter) for letter in word]


class _Reader:
  """Reads sums of products of powers from tokens."""

  def __init__(self, tokens: list[tuple[str, str]]) -> None:
    self._tokens, self._place = tokens, 0
    self._budget = Budget()

  @property
  def kind(self) -> str:
    return self._ahead(0)[0]

  @property
  def text(self) -> str:
    return self._ahead(0)[1]

  def _ahead(self, steps: int) -> tuple[str, str]:
    place = self._place + steps
    return self._tokens[place] if place < len(self._tokens) else ('', '')

  def _take(self, kind: str = '') -> str:
    if not self.kind or (kind and self.kind != kind):
      raise Unreadable(f'{self.text or "the end"!r} where {kind or "more"} should be')
    self._place += 1
    return self._tokens[self._place - 1][1]

  def sum(self, depth: int) -> Quotient:
    if depth > _MAX_DEPTH:
      raise TooLarge(f'brackets in {depth} levels')
    value = self._product(depth)
    while self.kind in ('+', '-'):
      sign = self._take()
      other = self._product(depth)
      value = terms.plus(value, other if sign == '+' else terms.minus(other), self._budget)
    return value

  def _product(self, depth: int) -> Quotient:
    sign = 1
    while self.kind in ('+', '-'):
      sign *= 1 if self._take() == '+' else -1
    value = self._power(depth)
    while self.kind in ('*', '/') or self.kind in _STARTS:
      if self.kind in ('*', '/'):
        operator = self._take()
      else:
        operator = '*'
        if self.kind == 'number':
          raise Unreadable('a number directly behind a factor')
      negative = self.kind == '-' and bool(self._take())
      other = self._power(depth)
      other = terms.minus(other) if negative else other
      value = (terms.times if operator == '*' else terms.over)(value, other, self._budget)
    return value if sign > 0 else terms.minus(value)

  def _power(self, depth: int) -> Quotient:
    base = self._mixed(depth)
    while self.kind == '!':
      self._take()
      base = _factorial(base)
    if self.kind == '^':
      self._take()
      base = powers.power(base, self._exponent(depth + 1), self._budget)
    return base

  def _exponent(self, depth: int) -> Quotient:
    if depth > _MAX_DEPTH:
      raise TooLarge(f'powers in {depth} levels')
    if self.kind == '-':
      self._take()
      return terms.minus(self._exponent(depth + 1))
    return self._power(depth)

  def _mixed(self, depth: int) -> Quotient:
    if self.kind != 'number' or not self.text.isdigit():
      return self._atom(depth)
    whole = self._take()
    following = [self._ahead(steps) for steps in range(7)]
    kinds, texts = zip(*following)
    for pattern, above, below, length in (
      (('command', '{', 'number', '}', '{', 'number', '}'), 2, 5, 7),
      (('number', '/', 'number'), 0, 2, 3),
    ):
      parts = texts[above], texts[below]
      if (
        kinds[: len(pattern)] == pattern
        and (pattern[0] == 'number' or texts[0] == '\\frac')
        and all(part.isdigit() for part in parts)
        and int(parts[0][:_MAX_DIGITS]) < int(parts[1][:_MAX_DIGITS])
      ):
        self._place += length
        return terms.plus(_number(whole), terms.over(*map(_number, parts), self._budget),
                          self._budget)  # fmt: skip
    if kinds[0] == 'command' and texts[0] == '\\frac' and kinds[1] == 'number':
      raise Unreadable('a fraction without braces behind a number')
    return _number(whole)

  def _atom(self, depth: int) -> Quotient:
    kind = self.kind
    if kind == 'number':
      text = self._take()
      return self._repeating(text) if self.text == '\\overline' else _number(text)
    if kind in _CLOSING:
      self._take()
      value = self.sum(depth + 1)
      self._take(_CLOSING[kind])
      return value
    if kind == 'word':
      return self._symbol(self._take())
    if kind == 'command':
      return self._command(self._take()[1:], depth + 1)
    raise Unreadable(f'{self.text or "the end"!r} where a value should be')

  def _repeating(self, text: str) -> Quotient:
    """`0.1\\overline{6}`, exactly."""
    self._take()
    self._take('{')
    period = self._take('number')
    self._take('}')
    whole, point, fixed = text.partition('.')
    if not point or not (whole + fixed + period).isdigit() or len(period) > _MAX_DIGITS:
      raise Unreadable('a line over what is no decimal')
    nines = 10 ** len(period) - 1
    return terms.number(Fraction(text + '0') + Fraction(int(period), nines * 10 ** len(fixed)))

  def _symbol(self, name: str) -> Quotient:
    if name == 'i':
      return terms.imaginary()
    if self.kind == '_':
      self._take()
      name += '_' + self._subscript()
    return terms.symbol(name)

  def _subscript(self) -> str:
    if self.kind != '{':
      return self._take()
    self._take()
    text = ''
    while self.kind in ('number', 'word', 'command'):
      text += self._take()
    self._take('}')
    return text

  def _command(self, name: str, depth: int) -> Quotient:
    if depth > _MAX_DEPTH:
      raise TooLarge(f'functions in {depth} levels')
    if name in ('frac', 'binom'):
      above, below = self._argument(depth), self._argument(depth)
      return terms.over(above, below, self._budget) if name == 'frac' else _binomial(above, below)
    if name == 'sqrt':
      return self._root(depth)
    if name == 'pi' or name in _GREEK:
      return self._symbol(f'\\{name}')
    if name in FUNCTIONS:
      return self._function(name, depth)
    raise Unreadable(f'\\{name}')

  def _argument(self, depth: int) -> Quotient:
    """A group, or the one digit or letter that LaTeX takes without braces."""
    if self.kind == 'number' and self.text.isdigit() and len(self.text) > 1:
      digit, rest = self.text[0], self.text[1:]
      self._tokens[self._place] = ('number', rest)
      return _number(digit)
    return self._atom(depth)

  def _root(self, depth: int) -> Quotient:
    degree = 2
    if self.kind == '[':
      self._take()
      value = self.sum(depth).rational
      self._take(']')
      if value is None or value.denominator != 1:
        raise Unreadable('a root whose degree is no integer')
      degree = int(value)
    # Written by hand, √12 is the root of 12.
    inner = self._atom(depth) if self.kind == 'number' else self._argument(depth)
    return powers.root(inner, degree)

  def _function(self, name: str, depth: int) -> Quotient:
    arguments = []
    for mark in ('_', '^'):
      if self.kind == mark:
        self._take()
        if mark == '^' and self.kind == '{' and self._ahead(1)[0] == '-':
          raise Unreadable('an inverse or a negative power of a function')
        arguments.append(terms.symbol(mark))
        arguments.append(self._argument(depth))
    value = self._power(depth)
    while self.kind in ('word', 'command') and self.text.lstrip('\\') not in FUNCTIONS:
      value = terms.times(value, self._power(depth), self._budget)
    return terms.opaque(name, *arguments, value)


def _number(text: str) -> Quotient:
  mantissa, _, exponent = text.replace(',', '').lower().partition('e')
  if len(mantissa) > _MAX_DIGITS or len(exponent) > 5 or abs(int(exponent or 0)) > 4000:
    raise TooLarge(f'a number of {len(text)} digits, or with a large exponent')
  return terms.number(Fraction(mantissa.rstrip('.')) * Fraction(10) ** int(exponent or 0))


def _integer(value: Quotient, what: str) -> int:
  rational = value.rational
  if rational is None or rational.denominator != 1 or rational < 0:
    raise Unreadable(f'{what} of what is no natural number')
  if rational > _MAX_FACTORIAL:
    raise TooLarge(f'{what} of a number above {_MAX_FACTORIAL}')
  return int(rational)


def _factorial(value: Quotient) -> Quotient:
  return terms.number(math.factorial(_integer(value, 'the factorial')))


def _binomial(above: Quotient, below: Quotient) -> Quotient:
  top, bottom = (_integer(value, 'the binomial') for value in (above, below))
  return terms.number(math.comb(top, bottom))
