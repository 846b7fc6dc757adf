"""Search: the passages of a local corpus that fit a query best, by BM25."""

from __future__ import annotations

import collections
import functools
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rljax import files
from rljax.environments.tools import ToolError

_WORD = re.compile(r'\w+')


class Index:
  """BM25 over passages.

  score(q, d) = Σ_{w in q} idf_w · f_{w,d} (k₁ + 1) / (f_{w,d} + k₁ (1 − b + b |d| / mean |d|)),
  idf_w = ln(1 + (N − n_w + ½) / (n_w + ½)).

  Args:
    passages: texts.
    k1, b: of the formula.

  Source: Robertson and Zaragoza, "The probabilistic relevance framework", 2009, section 3.
  Differs from the source: the 1 in the logarithm, so that no word counts against a passage.
  """

  def __init__(self, passages: Sequence[str], *, k1: float = 1.2, b: float = 0.75):
    self.passages = list(passages)
    self._counts = [collections.Counter(words(text)) for text in self.passages]
    lengths = [sum(counts.values()) for counts in self._counts]
    mean = sum(lengths) / max(len(lengths), 1) or 1.0
    self._norms = [k1 * (1 - b + b * length / mean) for length in lengths]
    self._k1 = k1
    self._where = collections.defaultdict(list)
    for number, counts in enumerate(self._counts):
      for word in counts:
        self._where[word].append(number)

  def scores(self, query: str) -> dict[int, float]:
    """Passage → score, of those that share a word with the query."""
    found: dict[int, float] = collections.defaultdict(float)
    for word in words(query):
      there = self._where.get(word, ())
      idf = math.log(1 + (len(self.passages) - len(there) + 0.5) / (len(there) + 0.5))
      for number in there:
        count = self._counts[number][word]
        found[number] += idf * count * (self._k1 + 1) / (count + self._norms[number])
    return dict(found)

  def best(self, query: str, num: int) -> list[int]:
    """The best passages, the earlier first where two are equal."""
    found = self.scores(query)
    return sorted(found, key=lambda number: (-found[number], number))[:num]


def words(text: str) -> list[str]:
  """Lower-case words and numbers."""
  return _WORD.findall(text.lower())


def search(arguments: Any, *, corpus: str, num: int = 3, max_characters: int = 500) -> str:
  r"""The best passages of a corpus, each on lines of its own behind its number.

  Args:
    arguments: the query, or {'query': …}.
    corpus: a file with a passage a line: plain text, or .jsonl of records with 'text'.
    num: passages of a result.
    max_characters: of a passage.

  Raises:
    ToolError: an empty query.
    FileNotFoundError: no corpus.

  Examples:
    >>> files.write_text('corpus.txt', 'The key of the red box is 17.\nThe box of room 4 is green.')
    >>> print(environments.search('red key', corpus='corpus.txt', num=1))
    [1] The key of the red box is 17.
  """
  query = arguments.get('query', '') if isinstance(arguments, Mapping) else arguments
  if not words(str(query)):
    raise ToolError('a query has a word at least')
  index = _index(corpus)
  best = index.best(str(query), num)
  lines = [f'[{i + 1}] {index.passages[n][:max_characters]}' for i, n in enumerate(best)]
  return '\n'.join(lines) or 'nothing is found'


@functools.cache
def _index(corpus: str) -> Index:
  path = pathlib.Path(corpus).expanduser()
  if not path.is_file():
    raise FileNotFoundError(f'search: the corpus {path} does not exist')
  lines = files.read_text(path).splitlines()
  if path.suffix == '.jsonl':
    return Index([_text(line, f'{path}, line {i + 1}') for i, line in enumerate(lines) if line])
  return Index([line for line in lines if line.strip()])


def _text(line: str, where: str) -> str:
  try:
    return str(json.loads(line)['text'])
  except (ValueError, KeyError, TypeError):
    raise ValueError(f"{where}: is no JSON record with 'text'") from None
