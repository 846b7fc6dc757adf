"""What a text can be asked to be, as checks by name: `check(text, **arguments) -> bool`.

A text is checked without white space around it. Whether a relation holds: `compare`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from rljax.rewards import languages, units

RELATIONS = {
  'at least': lambda count, number: count >= number,
  'at most': lambda count, number: count <= number,
  'less than': lambda count, number: count < number,
  'exactly': lambda count, number: count == number,
}

_BULLET = re.compile(r'^[ \t]*[-*•][ \t]+\S', re.MULTILINE)
_NUMBERED = re.compile(r'^[ \t]*(\d+)[.)][ \t]+\S', re.MULTILINE)
_PLACEHOLDER = re.compile(r'\[[^\[\]\n]+\]')
_HIGHLIGHT = re.compile(r'\*\*([^*\n]+)\*\*|(?<!\*)\*([^*\n]+)\*(?!\*)')
_TITLE = re.compile(r'<<([^<>\n]+)>>')
_FENCE = re.compile(r'\A```(?:json)?\s*\n(.*)\n\s*```\Z', re.DOTALL | re.IGNORECASE)


def compare(count: int, relation: str, number: int) -> bool:
  """Whether `count` is at least, at most, less than or exactly `number`.

  Raises:
    ValueError: another relation.
  """
  if relation not in RELATIONS:
    raise ValueError(f'relation {relation!r} is none of {", ".join(RELATIONS)}')
  return RELATIONS[relation](count, number)


# -- how much


def words(text: str, number: int, relation: str = 'at least') -> bool:
  """So many words, see `units.words`."""
  return compare(len(units.words(text)), relation, number)


def sentences(text: str, number: int, relation: str = 'at least') -> bool:
  """So many sentences, see `units.sentences`."""
  return compare(len(units.sentences(text)), relation, number)


def paragraphs(text: str, number: int, divider: str = '') -> bool:
  """Exactly so many paragraphs, none empty: between blank lines, or lines that are the divider."""
  if not divider:
    return len(units.paragraphs(text)) == number
  pieces = re.split(rf'^[ \t]*{re.escape(divider)}[ \t]*$', text, flags=re.MULTILINE)
  return len(pieces) == number and all(piece.strip() for piece in pieces)


def paragraph_start(text: str, number: int, place: int, word: str) -> bool:
  """So many paragraphs between blank lines, the one at `place` (from 1) starting with a word."""
  pieces = units.paragraphs(text)
  if len(pieces) != number or not 1 <= place <= number:
    return False
  found = units.words(pieces[place - 1])
  return bool(found) and found[0].lower() == word.lower()


# -- which words


def keywords(text: str, keywords: Sequence[str]) -> bool:
  """All of them are there, as whole words, in upper or lower case."""
  return all(_times(text, keyword) for keyword in keywords)


def forbidden(text: str, keywords: Sequence[str]) -> bool:
  """None of them is there as a whole word."""
  return not any(_times(text, keyword) for keyword in keywords)


def keyword_count(text: str, keyword: str, number: int, relation: str = 'at least') -> bool:
  """A word, or words in a row, so many times."""
  return compare(_times(text, keyword), relation, number)


def letter_count(text: str, letter: str, number: int, relation: str = 'at least') -> bool:
  """A letter, or another character, so many times, in upper or lower case."""
  return compare(text.lower().count(letter.lower()), relation, number)


def capital_words(text: str, number: int, relation: str = 'at least') -> bool:
  """Words all of whose letters are capitals; a word has a letter at least."""
  return compare(sum(word.isupper() for word in units.words(text)), relation, number)


def language(text: str, language: str) -> bool:
  """It is written in a language, see `languages.is_written_in`."""
  return languages.is_written_in(text, language)


def _times(text: str, keyword: str) -> int:
  pattern = r'\s+'.join(map(re.escape, keyword.split()))
  if not pattern:
    raise ValueError(f'keyword {keyword!r} is empty')
  return len(re.findall(rf'(?<!\w){pattern}(?!\w)', text, re.IGNORECASE))


# -- which characters


def upper(text: str) -> bool:
  """No small letter, and a capital at least."""
  return text.isupper()


def lower(text: str) -> bool:
  """No capital, and a small letter at least."""
  return text.islower()


def no_commas(text: str) -> bool:
  """No comma of any script."""
  return not any(comma in text for comma in ',，、،')


def no_digits(text: str) -> bool:
  """No digit of any script."""
  return not any(character.isdigit() for character in text)


# -- how it begins and ends


def starts_with(text: str, phrase: str) -> bool:
  """The first words, in upper or lower case."""
  return text.lower().startswith(phrase.strip().lower())


def ends_with(text: str, phrase: str) -> bool:
  """The last words; a quotation mark may stand behind them."""
  return text.strip('"').rstrip().lower().endswith(phrase.strip().lower())


def quoted(text: str) -> bool:
  """The whole text stands in double quotation marks."""
  return len(text) > 2 and text[0] == text[-1] == '"'


def repeat_prompt(text: str, prompt: str) -> bool:
  """The request is said again first, and something follows it."""
  prompt = prompt.strip().lower()
  return text.lower().startswith(prompt) and len(text) > len(prompt)


def postscript(text: str, marker: str = 'P.S.') -> bool:
  """A line starts with the marker, dots and spaces in it aside, and says something behind it."""
  letters = [re.escape(c) for c in marker if c not in '. ']
  pattern = r'[.\s]{0,2}'.join(letters)
  whole = rf'^[ \t]*{pattern}(?!\w)[^\w\n]*\w'
  return re.search(whole, text, re.IGNORECASE | re.MULTILINE) is not None


# -- its form


def is_json(text: str) -> bool:
  """An object or a list of JSON, also in a code fence."""
  fenced = _FENCE.match(text)
  try:
    return isinstance(json.loads(fenced.group(1) if fenced else text), dict | list)
  except (ValueError, RecursionError):
    return False


def title(text: str) -> bool:
  """A title in double angular brackets: <<…>>."""
  return any(found.strip() for found in _TITLE.findall(text))


def bullets(text: str, number: int, relation: str = 'exactly') -> bool:
  """Lines that begin with `-`, `*` or `•`."""
  return compare(len(_BULLET.findall(text)), relation, number)


def numbered(text: str, number: int) -> bool:
  """Lines that begin with `1.`, `2.` … and no other number, in order."""
  return _NUMBERED.findall(text) == [str(i) for i in range(1, number + 1)]


def placeholders(text: str, number: int, relation: str = 'at least') -> bool:
  """Places to fill in, in square brackets."""
  return compare(len(_PLACEHOLDER.findall(text)), relation, number)


def highlights(text: str, number: int, relation: str = 'at least') -> bool:
  """Parts between single or double asterisks."""
  found = [a or b for a, b in _HIGHLIGHT.findall(text)]
  return compare(sum(bool(part.strip()) for part in found), relation, number)


def sections(text: str, number: int, mark: str = 'Section') -> bool:
  """At least so many lines that begin with the mark and a number."""
  pattern = rf'^[^\w\n]*{re.escape(mark.strip())}[ \t]+\d'
  return len(re.findall(pattern, text, re.IGNORECASE | re.MULTILINE)) >= number


def choice(text: str, options: Sequence[str]) -> bool:
  """One of the options is there, and no other."""
  return sum(option.lower() in text.lower() for option in options) == 1


def two_responses(text: str, divider: str = '******') -> bool:
  """Two different responses with the divider between them."""
  pieces = [piece.strip() for piece in text.split(divider)]
  return len(pieces) == 2 and all(pieces) and pieces[0] != pieces[1]


KINDS: dict[str, Callable[..., bool]] = {
  'json': is_json,
  **{
    check.__name__: check
    for check in (
      words, sentences, paragraphs, paragraph_start, keywords, forbidden, keyword_count,
      letter_count, capital_words, language, upper, lower, no_commas, no_digits, starts_with,
      ends_with, quoted, repeat_prompt, postscript, title, bullets, numbered, placeholders,
      highlights, sections, choice, two_responses,
    )
  },
}
