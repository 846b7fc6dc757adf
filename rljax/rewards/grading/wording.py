"""Answers that are no formula: words, times of day, ratios, digits in a base."""

from __future__ import annotations

import re

from rljax.rewards.grading import notation
from rljax.rewards.grading.values import Value


def based(gold: Value, given: Value) -> tuple[bool, str]:
  """Digits in a base: the base may be left out and not changed."""
  digits = [v.text.replace(' ', '').lstrip('0') for v in (gold, given)]
  if gold.mark and given.mark and gold.mark != given.mark:
    return False, f'base {given.mark} where base {gold.mark} is asked'
  return digits[0].lower() == digits[1].lower(), 'digits in a base'


def clocks(gold: Value, given: Value) -> tuple[bool, str]:
  """Times of day and ratios; a ratio may be written as a fraction."""
  if gold.kind == given.kind:
    one, other = (_on_the_clock(v) for v in (gold, given))
    if one == other and {gold.mark, given.mark} != {'am', 'pm'}:
      return True, 'one time'
    twenty_four = _on_the_clock(gold, 12) == _on_the_clock(given, 12)
    return twenty_four, 'one time' if twenty_four else 'another time or ratio'
  ratio = re.fullmatch(r'([0-9]+)\s*(?:/|to)\s*([0-9]+)|\\frac\{([0-9]+)\}\{([0-9]+)\}', given.text)
  same = gold.kind == 'clock' and ratio is not None and not gold.mark
  pieces = [piece for piece in ratio.groups() if piece] if same else []
  return same and [str(part.quotient.rational) for part in gold.parts] == pieces, 'a ratio'


def _on_the_clock(value: Value, hours: int = 0) -> tuple[int, ...]:
  first, *rest = (int(part.quotient.rational) for part in value.parts)
  if hours and value.mark:
    first = first % hours + (hours if value.mark == 'pm' else 0)
  return (first, *rest)


def words(gold: Value, given: Value) -> tuple[bool, str]:
  """Words; case, articles and punctuation do not count."""
  one, other = plain(gold.text), plain(given.text)
  if one in ('yes', 'no', 'true', 'false'):
    first = re.match(r'\w+', other)
    ends = re.match(r'[\w]+\s*(?:[,.;:!-]|$)', notation.plain(given.text).replace('«', '').lower())
    return bool(first and ends and first[0] == one), 'yes or no'
  return one == other, 'the same words' if one == other else 'other words'


def plain(text: str) -> str:
  """The words of a text."""
  text = re.sub(r'[«»"$\\{}*_]', '', notation.plain(text)).casefold()
  text = re.sub(r'^(?:the|an?)\s+', '', text.strip().rstrip('.!').strip())
  return ' '.join(text.split())
