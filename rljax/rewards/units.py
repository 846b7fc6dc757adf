"""Words, sentences, paragraphs and lines of a text. Standard library only."""

from __future__ import annotations

import re

WORD = r"\w+(?:['’\-]\w+)*"

_WORD = re.compile(WORD)
_SENTENCE_END = re.compile(r'(?<=[.!?…])["\'”’)\]*_]*(?=\s|$)|(?<=[。！？])|\n\s*\n')
_BLANK_LINE = re.compile(r'\n\s*\n')
# What stands before a full stop that ends no sentence: a title, or one letter of a name.
_ABBREVIATED = re.compile(r'(?:^|[\s(])(?:mrs?|ms|dr|prof|st|vs|e\.g|i\.e|[a-z])\.$', re.IGNORECASE)

UNITS = ('characters', 'words', 'sentences', 'paragraphs', 'lines')


def words(text: str) -> list[str]:
  """Runs of letters, digits and underscores; an apostrophe or hyphen inside joins."""
  return _WORD.findall(text)


def sentences(text: str) -> list[str]:
  """Pieces that end with . ! ? … before white space, with 。！？ or at a blank line.

  `Mr.`, `Dr.`, `e.g.`, single letters and their like end none. A piece without a letter or a digit
  is no sentence.
  """
  found, start = [], 0
  for match in _SENTENCE_END.finditer(text):
    piece = text[start : match.end()]
    if _ABBREVIATED.search(piece[-9:]):  # longer than any of them
      continue
    found.append(piece)
    start = match.end()
  found.append(text[start:])
  return [piece.strip() for piece in found if _WORD.search(piece)]


def paragraphs(text: str) -> list[str]:
  """Pieces between blank lines."""
  return [piece.strip() for piece in _BLANK_LINE.split(text) if piece.strip()]


def lines(text: str) -> list[str]:
  """Lines that are not blank."""
  return [line.strip() for line in text.split('\n') if line.strip()]


def count(text: str, unit: str) -> int:
  """How many of a unit a text has.

  Args:
    text: any.
    unit: of `UNITS`.

  Raises:
    ValueError: another unit.
  """
  if unit == 'characters':
    return len(text)
  if unit not in UNITS:
    raise ValueError(f'unit {unit!r} is none of {", ".join(UNITS)}')
  pieces = {'words': words, 'sentences': sentences, 'paragraphs': paragraphs, 'lines': lines}
  return len(pieces[unit](text))
