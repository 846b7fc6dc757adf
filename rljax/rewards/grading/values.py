"""The text of an answer → what it is: a number with a unit, an interval, a set, a choice, words …

The kind is read from the text unless it is said. Kinds:

    number, expression   a formula; it may have a unit (`5 cm`, `$5`, `50%`, `90^\\circ`, `6th`)
    equation             two formulas and '='; `x = 5` alone is the formula 5 named x
    sequence             (a, b), [a, b), ⟨a, b⟩: a point or an interval, its brackets count
    union                intervals joined by ∪, in any order
    set                  {a, b}: any order, each once
    list                 a, b without brackets: any order; `a ± b` is a list of two
    ordered              a list whose order counts; only where a gold answer says so
    matrix               rows of formulas
    based                digits with the base that they are written in, `52_8`
    clock                a:b or a:b:c, a time of day or a ratio
    choice               a letter in brackets
    text                 words
    formula              mathematics that only the symbolic path may read
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rljax.rewards.grading import expressions, notation, terms, units
from rljax.rewards.grading.terms import Quotient, TooLarge, Unreadable

KINDS = frozenset(
  'number expression equation sequence union set list ordered matrix based clock choice '
  'text'.split()
)
MAX_PARTS = 32  # of a set, a list, a matrix
MAX_LENGTH = 10_000  # characters; of a formula, see `expressions`

_CHOICE = re.compile(r'«?\(?«?([A-J])»?\)?»?[.:]?')
_SAID_CHOICE = re.compile(
  r'(?:(?:option|choice|answer)\s+)?\(?([A-Za-z])(?:\)[.:]?|[.:](?!\w)|\s*$|\s+[-:])'
  r'(?!\s*(?:or|and|,|/)\s*\(?[A-Za-z]\)?(?!\w))',
  re.IGNORECASE,
)
_BASED = re.compile(r'(?i)([0-9A-Z]+)\s*_\s*(?:([0-9])|\{\s*([0-9]{1,2})\s*\})')
_CLOCK = re.compile(r'([0-9]{1,4}):([0-9]{1,4})(?::([0-9]{1,2}))?\s*(?:([ap])\.?\s?m\.?)?', re.I)
_MATRIX = re.compile(r'\\begin\{([pbBvV]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}')
_NAMED = re.compile(
  r'\\?[A-Za-z]+(?:_\{?\w+\}?)?\s*(?:\(\s*\w\s*\))?|«[^«»]*»|\([A-Za-z](?:\s*,\s*[A-Za-z])+\)'
)
_BELONGS = re.compile(r'^[A-Za-z]\s*\\in(?![A-Za-z])\s*')
_JOINED = re.compile(r',|;|«\s*(?:and|or)\s*»|\b(?:and|or)\b')
_MONEY = re.compile(r'^([-+]?)\s*(?:USD|US)?\s*([$£€])\s*')
_MONEY_NAMES = {'$': 'dollar', '£': 'pound sterling', '€': 'euro'}
_RELATIONS = re.compile(r'(<=|>=|<|>|\\le(?![A-Za-z])|\\ge(?![A-Za-z]))')
_COUNTED = re.compile(r'[-+]?[0-9.,]+(?:\s*\([A-Za-z][^()0-9]+\)|\s[A-Za-z]{2}[^0-9\\^]*)')
_MARKED = re.compile(r'«([^«»A-Za-z]*[0-9][^«»A-Za-z]*)»')
_WORD = re.compile(r'(?<![\\A-Za-z])[A-Za-z]{3,}')
_ANY_MATHEMATICS = re.compile(r'[0-9\\^=<>+*/|∪∞⦃]')


class Value(NamedTuple):
  """What a text says.

  Attributes:
    kind: of KINDS, or 'formula'.
    text: in the plain notation.
    parts: elements of what has elements; the two sides of an equation.
    mark: brackets of a sequence, 'am' or 'pm' of a clock, the kind of a matrix.
    unit: '' if it has none; 'percent' for %.
    name: x of `x = 5`, '' if it has none.
    quotient: of a number or an expression.
  """

  kind: str
  text: str
  parts: tuple[Value, ...] = ()
  mark: str = ''
  unit: str = ''
  name: str = ''
  quotient: Quotient | None = None


def read(text: str, kind: str = '') -> Value:
  """What `text`, in the plain notation, says.

  Args:
    text: see `notation.plain`.
    kind: what it is; '' = as it looks.

  Raises:
    Refused: its value, its length or its nesting is over a bound, or it has no value.
  """
  if len(text) > MAX_LENGTH:
    raise TooLarge(f'{len(text)} characters; at most {MAX_LENGTH} are read')
  try:
    return _read(text, kind)
  except RecursionError:
    raise TooLarge('brackets in too many levels') from None


def _read(text: str, kind: str) -> Value:
  if kind == 'choice':
    found = _SAID_CHOICE.match(text.replace('«', '').replace('»', '').strip())
    return Value('choice', found[1].upper()) if found else Value('text', text)
  if kind == 'text':
    return Value('text', text)
  if kind in ('set', 'list', 'ordered'):
    return Value(kind, text, tuple(map(read, _elements(text))))
  if kind == 'number' and (value := _number(text)):
    return value
  return _as_it_looks(text)


def _as_it_looks(text: str) -> Value:
  if found := _MARKED.fullmatch(text):  # a number set as text
    text = found[1].strip()
  attempts = (
    _letters, _matrix, _bracketed, _number, _based, _clock, _intervals, _listed, _named
  )  # fmt: skip
  for attempt in attempts:
    if value := attempt(text):
      return value
  return _formula(text) if _is_mathematics(text) else Value('text', text)


def _letters(text: str) -> Value | None:
  if '(' in text and (found := _CHOICE.fullmatch(text)):
    return Value('choice', found[1])
  word = re.fullmatch(r'[A-Za-z]{3,}|«[^«»]*»', text)
  return Value('text', text) if word and text.lower() not in expressions.VARIABLES else None


def _number(text: str) -> Value | None:
  """A formula, perhaps with a unit."""
  if found := _MONEY.match(text):
    value = _number(found[1] + text[found.end() :])
    return value and value._replace(text=text, unit=_MONEY_NAMES[found[2]])
  end, unit = units.behind(text) if len(text) <= expressions.MAX_LENGTH else (0, '')
  # `5 km`, `6th` and `2 CDs` could be products of letters.
  named = units.known(unit) or unit == 'th' or _COUNTED.fullmatch(text)
  value = Value('formula', text) if unit and named else _formula(text)
  if value.quotient is None and unit:
    value = _scaled(_formula(text[:end]), unit)._replace(text=text)
  return value if value.quotient is not None else None


def _scaled(value: Value, unit: str) -> Value:
  """`5 million dollars` as a number of dollars."""
  scale, _, rest = unit.partition(' ')
  if value.quotient is None or scale not in units.SCALES:
    return value._replace(unit=unit)
  factor = terms.number(units.SCALES[scale])
  return value._replace(quotient=terms.times(value.quotient, factor, terms.Budget()), unit=rest)


def _formula(text: str) -> Value:
  try:
    quotient = expressions.read(text)
  except Unreadable:
    return Value('formula', text)
  kind = 'expression' if quotient.rational is None else 'number'
  return Value(kind, text, quotient=quotient)


def _clock(text: str) -> Value | None:
  found = _CLOCK.fullmatch(text.replace('«', '').replace('»', '').strip())
  if not found:
    return None
  numbers = tuple(_formula(str(int(piece))) for piece in found.groups()[:3] if piece)
  return Value('clock', text, numbers, mark=f'{found[4].lower()}m' if found[4] else '')


def _based(text: str) -> Value | None:
  if found := _BASED.fullmatch(text):
    return Value('based', found[1].lstrip('0'), mark=found[2] or found[3])
  return None


def _matrix(text: str) -> Value | None:
  if found := _MATRIX.fullmatch(text):
    rows = [row.split('&') for row in found[2].strip(' ¶').split('¶')]
    mark = 'determinant' if found[1] in ('vmatrix', 'Vmatrix') else ''
  elif text.startswith('[[') and notation.enclosed(text):
    rows = [notation.split(row.strip()[1:-1], ',') for row in notation.split(text[1:-1], ',')]
    mark = ''
  else:
    return None
  _few([cell for row in rows for cell in row])
  lines = (Value('ordered', '', tuple(_formula(cell.strip()) for cell in row)) for row in rows)
  return Value('matrix', text, tuple(lines), mark)


def _intervals(text: str) -> Value | None:
  text = _BELONGS.sub('', text)
  pieces = notation.split(text, '∪')
  if len(pieces) > 1:
    return Value('union', text, tuple(map(_as_it_looks, _few(pieces))))
  return _inequality(text)


def _inequality(text: str) -> Value | None:
  """`x > 2`, `1 < x \\le 3` as the interval that it is."""
  pieces = [piece.strip() for piece in _RELATIONS.split(text)]
  if len(pieces) not in (3, 5):
    return None
  closed = [mark in ('<=', '>=', '\\le', '\\ge') for mark in pieces[1::2]]
  upward = [mark in ('<', '<=', '\\le') for mark in pieces[1::2]]
  if len(set(upward)) > 1:
    return None
  if not upward[0]:
    pieces, closed = pieces[::-1], closed[::-1]
  if len(pieces) == 3:
    left = bool(re.fullmatch('[A-Za-z]', pieces[0]))
    pieces = ['-∞', '', *pieces] if left else [*pieces, '', '∞']
    closed = [False, *closed] if left else [*closed, False]
  if not re.fullmatch('[A-Za-z]', pieces[2]):
    return None
  ends = tuple(_as_it_looks(piece) for piece in (pieces[0], pieces[4]))
  return Value('sequence', text, ends, mark='([' [closed[0]] + ')]'[closed[1]])


def _bracketed(text: str) -> Value | None:
  text = _BELONGS.sub('', text)
  if not text or text[0] not in '([⦃' or not notation.enclosed(text):
    return None
  pieces = notation.split(text[1:-1], ',')
  if text[0] == '⦃':
    return Value('set', text, tuple(_part(p) for p in _each(pieces)) if text[1:-1].strip() else ())
  if len(pieces) == 1:
    return None
  return Value('sequence', text, tuple(map(_part, _few(pieces))), mark=text[0] + text[-1])


def _named(text: str) -> Value | None:
  sides = notation.split(text, '=')
  if len(sides) < 2 or not all(sides) or len(sides) > 8:
    return None
  if len(sides) == 2 and _NAMED.fullmatch(sides[1]) and not _NAMED.fullmatch(sides[0]):
    sides.reverse()
  if _NAMED.fullmatch(sides[0]):
    rest = _as_it_looks('='.join(sides[1:]))
    return rest._replace(name=sides[0].replace(' ', ''), text=text) if rest.kind != 'text' else None
  if len(sides) > 2:
    return None
  return Value('equation', text, (_formula(sides[0]), _formula(sides[1])))


def _listed(text: str) -> Value | None:
  pieces = _joined(text) if not re.search(r'[(\[⦃]', text) else notation.split(text, ',;')
  if len(pieces) == 1 and '\\pm' not in text:
    return None
  pieces = [piece for piece in pieces if piece]
  values = [_part(piece) for piece in _each(pieces)]
  if not values or any(v.kind in ('text', 'list') for v in values):
    return None
  return Value('list', text, tuple(values))


def _joined(text: str) -> list[str]:
  return [piece.strip() for piece in _JOINED.split(text)]


def _each(pieces: list[str]) -> list[str]:
  """The pieces, those with ± twice."""
  signs = ('+', '-')
  return [
    piece.replace('\\pm', sign)
    for piece in _few(pieces)
    for sign in (signs if '\\pm' in piece else signs[:1])
  ]


def _few(pieces: list[str]) -> list[str]:
  if len(pieces) > MAX_PARTS:
    raise TooLarge(f'{len(pieces)} parts; at most {MAX_PARTS} are compared')
  return pieces


def _part(text: str) -> Value:
  return Value('number', text) if text in ('∞', '+∞', '-∞', '- ∞') else _as_it_looks(text)


def _elements(text: str) -> list[str]:
  """The elements of what is said to be a set or a list, whichever brackets it has."""
  if text and text[0] in '([⦃' and notation.enclosed(text):
    text = text[1:-1]
  pieces = notation.split(text, ',;')
  if len(pieces) == 1:
    pieces = _joined(text)
  return _each([piece for piece in pieces if piece])


def _is_mathematics(text: str) -> bool:
  words = set(_WORD.findall(text)) - expressions.NAMES - {'begin', 'end'}
  return not words and bool(_ANY_MATHEMATICS.search(text))
