"""How near two texts or two sequences are: numbers between 0 and 1. Standard library only."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Hashable, Sequence

_ARTICLES = frozenset(('a', 'an', 'the'))
_NO_PUNCTUATION = str.maketrans('', '', string.punctuation)
_ROUGE_WORD = re.compile(r'[^\W_]+')


def normalized_words(text: str) -> list[str]:
  """Lower-case words without ASCII punctuation and without the articles a, an and the.

  Punctuation vanishes, it does not separate: `well-known` is one word.

  Source: Rajpurkar et al. 2016, arXiv 1606.05250 (SQuAD), its evaluation.
  Differs from the source: nothing
  """
  words = text.lower().translate(_NO_PUNCTUATION).split()
  return [word for word in words if word not in _ARTICLES]


def exact_match(text: str, reference: str) -> float:
  """1 if both have the same `normalized_words`, else 0.

  Args:
    text: what is judged.
    reference: what it is compared with.
  """
  return float(normalized_words(text) == normalized_words(reference))


def token_f1(text: str, reference: str) -> float:
  """Harmonic mean of precision and recall of the `normalized_words`, counted with repetitions.

  Two texts without words agree (1); one without words agrees with no other (0).

  Args:
    text: what is judged.
    reference: what it is compared with.

  Source: Rajpurkar et al. 2016, arXiv 1606.05250; the rule for texts without words of SQuAD 2.0.
  Differs from the source: nothing
  """
  found, wanted = normalized_words(text), normalized_words(reference)
  if not found or not wanted:
    return float(found == wanted)
  shared = (Counter(found) & Counter(wanted)).total()
  return 2 * shared / (len(found) + len(wanted))


def edit_ratio(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
  """1 − edit distance / length of the longer; 1 if both are empty.

  Args:
    one, other: texts (compared by characters) or sequences of anything that hashes.
  """
  longest = max(len(one), len(other))
  return 1 - edit_distance(one, other) / longest if longest else 1.0


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
  """The least number of insertions, deletions and replacements that make `other` of `one`.

  A column of the table of distances is two large integers, whose bits say where it rises and falls:
  a text of 10,000 characters takes milliseconds.

  Args:
    one, other: texts (compared by characters) or sequences of anything that hashes.

  Source: Myers 1999, "A fast bit-vector algorithm for approximate string matching", J. ACM 46;
    Hyyrö 2003 for the form that compares whole texts.
  Differs from the source: one integer of any length in place of machine words.
  """
  size = len(other)
  if not size:
    return len(one)
  places, every, last = _places(other), (1 << size) - 1, 1 << (size - 1)
  rises, falls, distance = every, 0, size
  for item in one:
    equal = places.get(item, 0)
    diagonal = (((equal & rises) + rises) ^ rises) | equal
    across = equal | falls
    up, down = falls | (every & ~(diagonal | rises)), rises & diagonal
    distance += bool(up & last) - bool(down & last)
    up, down = up << 1 | 1, down << 1
    rises, falls = (down | ~(across | up)) & every, up & across & every
  return distance


def common_subsequence(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
  """Length of the longest common subsequence (items in order, not necessarily in a row).

  Args:
    one, other: texts (compared by characters) or sequences of anything that hashes.

  Source: Crochemore et al. 2001, "A fast and practical bit-vector algorithm for the longest common
    subsequence problem".
  Differs from the source: one integer of any length in place of machine words.
  """
  places, every = _places(other), (1 << len(other)) - 1
  unmatched = every
  for item in one:
    equal = unmatched & places.get(item, 0)
    unmatched = ((unmatched + equal) | (unmatched - equal)) & every
  return len(other) - unmatched.bit_count()


def rouge_l(text: str, reference: str, *, beta: float = 1.0) -> float:
  """F = (1 + β²)·P·R / (R + β²·P), P = LCS / words of the text, R = LCS / words of the reference.

  Words are lower-case runs of letters and digits; LCS is their longest common subsequence. 0 if
  either has no words.

  Args:
    text: what is judged.
    reference: what it is compared with.
    beta: above 1 recall counts more.

  Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries", equations 2-4.
  Differs from the source: whole texts, not the union over sentences; words are not stemmed.
  """
  found, wanted = (_ROUGE_WORD.findall(t.lower()) for t in (text, reference))
  shared = common_subsequence(found, wanted)
  if not shared:
    return 0.0
  precision, recall = shared / len(found), shared / len(wanted)
  return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def _places(items: Sequence[Hashable]) -> dict[Hashable, int]:
  """Item → the integer whose bits are its places."""
  found: dict[Hashable, int] = {}
  for place, item in enumerate(items):
    found[item] = found.get(item, 0) | 1 << place
  return found
