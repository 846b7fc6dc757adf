"""Where a completion gives its answer: one order for all verifiers. Nothing is evaluated here.

    1. boxed    what stands in `\\boxed{…}` or `\\fbox{…}`
    2. hashes   the line behind `####`, unless it is a heading: `#### 12`, not `#### Step 2`
    3. phrase   what follows 'answer is', 'answers are', 'answer:' or 'answer =', to the end of the
                sentence
    4. tag      what stands between `<answer>` and `</answer>`
    5. (none)   the last number, the last letter of an option, or the last formula or line

The first of these that there is counts, and of several of one kind the last. A marker with nothing
behind it, or that is never closed, is none. Nothing before the last `</think>` is read. So an
answer in the middle counts if it is marked and no other of its kind is marked later; a sentence
behind it does no harm.

The fifth is no format: strict accuracy does not take it, lenient accuracy does.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_DIGITS = r'(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+'
# A minus behind a digit, a letter or a bracket is a subtraction and no sign.
_NUMBER = rf'(?:(?<![\w.)\]])[-−])?(?:\$-?)?(?:{_DIGITS})(?:\s?/\s?(?:{_DIGITS}))?'
_NUMBER_PATTERN = re.compile(_NUMBER)
_AFTER_HASHES = re.compile(rf'####\s*\**\s*({_NUMBER})')
_LINE_AFTER_HASHES = re.compile(r'####\s*([^\n]+)')
# A heading begins with a word; what begins otherwise, or ends the completion, is an answer.
_HEADING = re.compile(r'[*_]*(?:[A-Za-z]{2}|[A-Za-z]\s+[a-z]{2}|[0-9]+[.):]\s+[A-Za-z])')
_AFTER_PHRASE = re.compile(r'\banswer\s*(?:is\b|:|=)([^\n]*)', re.IGNORECASE)
_PHRASE = re.compile(r'\banswers?[*_]*\s*(?:is\b|are\b|:|=)[\s:*_]*', re.IGNORECASE)
_LINE = re.compile(r'[^\n]*')
_SENTENCE_END = re.compile(
  r'(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)[.!?][*_"”)]*(?=\s+[A-Z*_])'
)
_FRACTION = re.compile(r'\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}')
_LATEX_NOISE = re.compile(r'\\text\{[^{}]*\}|\\[!,;% ]|[{}]')
_UPPER_TO_LOWER = {upper: upper + 32 for upper in range(ord('A'), ord('Z') + 1)}


class Extracted(NamedTuple):
  """An answer as it stands in a completion.

  Attributes:
    text: of the answer.
    marker: 'boxed', 'hashes', 'phrase' or 'tag'; '' if there was none.
  """

  text: str
  marker: str


def extract(completion: str) -> Extracted | None:
  """The marked answer of a completion, by the order of this module; None if no answer is marked."""
  completion = _behind_thoughts(completion)
  for marker, read in _READERS.items():
    if text := read(completion):
      return Extracted(text, marker)
  return None


def extract_unmarked(completion: str, kind: str, letters: str = '') -> Extracted | None:
  """What stands last in a completion without a marker.

  Args:
    completion: any text.
    kind: 'number' = the last number, 'choice' = the last option, 'text' = the last line, other
      kinds = the last formula between dollar signs or `\\(…\\)`, else the last line.
    letters: of the options.
  """
  completion = _behind_thoughts(completion)
  if kind == 'number':
    found = _NUMBER_PATTERN.findall(_plain(completion))
  elif kind == 'choice':
    # 'A' and 'I' before a word are English.
    found = re.findall(rf'(?<![\w\\])([{re.escape(letters)}])(?![\w\'’])(?!\s[a-z])', completion)
  else:
    found = [] if kind == 'text' else _last_formula(completion)
    found = found or [_clean(line) for line in completion.splitlines() if line.strip()]
  return Extracted(found[-1], '') if found else None


def whole(completion: str) -> str | None:
  """All of the completion, any white space as one space; None where there is nothing else."""
  return ' '.join(completion.split()) or None


def extract_number(completion: str) -> Fraction | None:
  """The number that a completion gives as its answer, where the prompt asks for `####`.

  The first of these that there is; of several of one kind the last:
    1. the number directly behind `####`;
    2. the first number in `\\boxed{…}`;
    3. the first number behind 'answer is', 'answer:' or 'answer =', on that line;
    4. the last number.
  """
  found = _AFTER_HASHES.findall(completion)
  if found:
    return parse_number(found[-1])
  for text in (boxed(completion), _after_phrase(completion)):
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


def _behind_thoughts(completion: str) -> str:
  return completion.rpartition('</think>')[2]


def boxed(completion: str) -> str:
  """What stands in the last box that is closed and not empty; '' if there is none."""
  end = len(completion)
  for _ in range(8):  # of unclosed boxes one is usual; many are no answer
    starts = [completion.rfind(f'\\{name}{{', 0, end) for name in ('boxed', 'fbox')]
    start = max(starts)
    if start < 0:
      return ''
    inside = completion.index('{', start) + 1
    text = _to_closing_brace(completion, inside)
    if text.strip():
      return text.strip()
    end = start
  return ''


def _to_closing_brace(text: str, start: int) -> str:
  depth = 1
  for found in re.compile(r'\\[{}\\]|[{}]').finditer(text, start):
    depth += {'{': 1, '}': -1}.get(found.group(), 0)
    if not depth:
      return text[start : found.start()]
  return ''


def _last_formula(completion: str) -> list[str]:
  end = completion.rfind('\\)')
  start = completion.rfind('\\(', 0, max(end, 0))
  if 0 <= start < end:
    return [completion[start + 2 : end]]
  return re.findall(r'(?<!\\)\$([^$\n]+)\$', completion)


def _hashes(completion: str) -> str:
  end = len(completion.rstrip())
  for found in reversed([*_LINE_AFTER_HASHES.finditer(completion)]):
    last = found.end() >= end
    text = _clean(found[1])
    if text and (last or not _HEADING.match(text)):
      return text
  return ''


def _after_phrase(completion: str) -> str:
  found = _AFTER_PHRASE.findall(completion)
  return found[-1] if found else ''


def _phrase(completion: str) -> str:
  for found in reversed([*_PHRASE.finditer(completion)]):
    line = _LINE.match(completion, found.end())[0]
    if text := _clean(_SENTENCE_END.split(line, maxsplit=1)[0].partition('</')[0]):
      return text
  return ''


def _tag(completion: str) -> str:
  # Not str.lower, which can change the length.
  lowered = completion.translate(_UPPER_TO_LOWER)
  end = lowered.rfind('</answer>')
  start = lowered.rfind('<answer>', 0, max(end, 0))
  return _clean(completion[start + len('<answer>') : end]) if 0 <= start < end else ''


def _clean(text: str) -> str:
  """Without Markdown's emphasis and the stop of a sentence around it."""
  text = text.strip().strip('*_`').strip()
  return text[:-1].rstrip().rstrip('*_`') if text.endswith('.') else text


_READERS = {'boxed': boxed, 'hashes': _hashes, 'phrase': _phrase, 'tag': _tag}
