"""When the units of two numbers contradict each other. Nothing is converted."""

from __future__ import annotations

import re

from rljax.rewards.grading import expressions

_NAMES = {
  'mm': 'mm millimeter millimetre',
  'cm': 'cm centimeter centimetre',
  'm': 'm meter metre',
  'km': 'km kilometer kilometre',
  'inch': 'in inch inches',
  'foot': 'ft foot feet',
  'yard': 'yd yard',
  'mile': 'mi mile',
  'mg': 'mg milligram',
  'g': 'g gram gramme',
  'kg': 'kg kilogram kilo',
  'ounce': 'oz ounce',
  'pound': 'lb pound',
  'ton': 'ton tonne',
  'ml': 'ml milliliter millilitre',
  'l': 'l liter litre',
  'second': 's sec second',
  'minute': 'min minute',
  'hour': 'h hr hour',
  'day': 'day',
  'week': 'week',
  'month': 'month',
  'year': 'yr year',
  'dollar': 'dollar usd',
  'cent': 'cent ¢',
  'euro': 'euro eur',
  'pound sterling': 'gbp',
  'degree': 'degree deg',
  'radian': 'radian rad',
  'percent': 'percent',
}
_ALIASES = {alias: name for name, aliases in _NAMES.items() for alias in aliases.split()}
_ALIASES['pound sterling'] = 'pound sterling'


SCALES = {
  'dozen': 12,
  'hundred': 100,
  'thousand': 10**3,
  'million': 10**6,
  'billion': 10**9,
  'trillion': 10**12,
}
# Words behind a number that say more than its unit.
_OTHERWISE = frozenset(
  'and at but equals if is isn less minus mod more not or over plus than to under versus vs was '
  'would'.split()
)

_UNIT = re.compile(
  r'\s*(?:\(\s*(?P<brackets>[A-Za-z][^()0-9]*)\)|(?P<percent>%)'
  r'|(?P<ordinal>(?<=[0-9])(?:st|nd|rd|th))'
  r'|(?P<letter>(?<=[0-9]) [mgslhL])'
  r'|(?P<words>(?:«[^«»0-9]*»|(?<![\\A-Za-z])[A-Za-z]{2,}\.?)'
  r'(?:[ /-]+(?:«[^«»0-9]*»|[A-Za-z.\']+))*)'
  r'(?P<power>\s*\^\s*\{?[23]\}?)?)$'
)


def may_be(unit: str) -> bool:
  """Whether words behind a number can be its unit."""
  first = unit.replace("'", ' ').split()[:1]
  return bool(first) and first[0] not in _OTHERWISE


def known(unit: str) -> str:
  """The unit in one spelling, `cm^2` for square centimeters; '' if it is no known unit."""
  word, _, power = unit.partition('^')
  for prefix, exponent in (('square ', '2'), ('sq ', '2'), ('cubic ', '3'), ('cu ', '3')):
    if word.startswith(prefix):
      word, power = word.removeprefix(prefix), exponent
  word = word.strip()
  name = _ALIASES.get(word) or _ALIASES.get(word.removesuffix('s'))
  return f'{name}^{power}' if name and power else name or ''


def contradict(one: str, other: str) -> bool:
  """Whether both are known units and not the same one."""
  one, other = known(one), known(other)
  return bool(one and other and one != other)


def behind(text: str) -> tuple[int, str]:
  """(where the unit at the end of a text begins, the unit); (0, '') if there is none."""
  found = _UNIT.search(text)
  unit = _unit(found) if found and found.start() else ''
  return (found.start(), unit) if unit else (0, '')


def _unit(found: re.Match) -> str:
  if found['percent']:
    return 'percent'
  if found['ordinal']:
    return 'th'
  words = found['brackets'] or found['letter'] or found['words']
  words = ' '.join(words.replace('«', ' ').replace('»', ' ').replace('.', '').split())
  if not may_be(words.lower()) or words.split()[0] in expressions.NAMES:
    return ''
  return words.lower() + re.sub(r'[{}\s]', '', found['power'] or '')
