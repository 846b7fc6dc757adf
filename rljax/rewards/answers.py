"""The final answer of a worked solution, and when two numbers are equal. Exact, no evaluation."""

from __future__ import annotations

import re
from fractions import Fraction

_DIGITS = r'(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+'
# A minus behind a digit, a letter or a bracket is a subtraction and no sign.
_NUMBER = rf'(?:(?<![\w.)\]])[-−])?(?:\$-?)?(?:{_DIGITS})(?:\s?/\s?(?:{_DIGITS}))?'
_NUMBER_PATTERN = re.compile(_NUMBER)
_AFTER_HASHES = re.compile(rf'####\s*\**\s*({_NUMBER})')
_AFTER_PHRASE = re.compile(r'\banswer\s*(?:is\b|:|=)([^\n]*)', re.IGNORECASE)
_FRACTION = re.compile(r'\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}')
_LATEX_NOISE = re.compile(r'\\text\{[^{}]*\}|\\[!,;% ]|[{}]')


def extract_number(completion: str) -> Fraction | None:
  """The number that a completion gives as its answer.

  The first of these that there is; of several of one kind the last:
    1. the number directly behind `####`;
    2. the first number in `\\boxed{…}`;
    3. the first number behind 'answer is', 'answer:' or 'answer =', on that line;
    4. the last number.
  """
  found = _AFTER_HASHES.findall(completion)
  if found:
    return parse_number(found[-1])
  for text in (_boxed(completion), _after_phrase(completion)):
    first = _NUMBER_PATTERN.search(_plain(text))
    if first:
      return parse_number(first.group())
  everywhere = _NUMBER_PATTERN.findall(_plain(completion))
  return parse_number(everywhere[-1]) if everywhere else None


def parse_number(text: str) -> Fraction | None:
  """The value of `-1,234.50`, `$18`, `3/4`, `\\frac{3}{4}` or `50%` (50); None if it is no number.

  Exact: a decimal is its fraction of a power of ten.
  """
  text = _plain(text).strip().rstrip('.%').replace('$', '').replace('−', '-')
  text = text.replace(',', '').replace(' ', '')
  above, _, below = text.partition('/')
  try:
    if _is_decimal(above) and (not below or _is_decimal(below)):
      return Fraction(above) / Fraction(below or 1)
  except (ValueError, ZeroDivisionError):  # too many digits for int, or nothing to divide by
    pass
  return None


def _is_decimal(text: str) -> bool:
  # Fraction takes exponents too, and a short exponent can be an endless computation.
  return re.fullmatch(r'-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)', text) is not None


def _plain(text: str) -> str:
  text = text.replace('{,}', ',').replace('\\$', '$')
  return _LATEX_NOISE.sub('', _FRACTION.sub(r'\1/\2', text))


def _boxed(completion: str) -> str:
  """What stands in the last `\\boxed{…}`; '' if there is none or it is not closed."""
  start = completion.rfind('\\boxed{')
  if start < 0:
    return ''
  start += len('\\boxed{')
  depth = 1
  for place in range(start, len(completion)):
    depth += {'{': 1, '}': -1}.get(completion[place], 0)
    if not depth:
      return completion[start:place]
  return ''


def _after_phrase(completion: str) -> str:
  found = _AFTER_PHRASE.findall(completion)
  return found[-1] if found else ''
