"""What training prompts and held-out prompts have in common."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r'\w+')


@dataclasses.dataclass(frozen=True)
class Overlap:
  """What was found.

  Attributes:
    num_train, num_test: prompts that were looked at.
    repeated: training prompts that stand there before.
    same: held-out prompts that are training prompts too.
    shared: held-out prompts that share n words in a row with a training prompt, or are one.
    examples: some of the shared ones.
    ngram: n.
  """

  num_train: int
  num_test: int
  repeated: int
  same: int
  shared: int
  examples: tuple[str, ...]
  ngram: int

  def __str__(self) -> str:
    found = (
      f'of {self.num_test} held-out prompts {self.same} are among {self.num_train} training '
      f'prompts, {self.shared} share {self.ngram} words in a row with one; {self.repeated} '
      'training prompts are repeated'
    )
    return '; e.g. '.join([found, *(repr(text[:60]) for text in self.examples[:1])])


def overlap(train: Iterable[str], test: Sequence[str], *, ngram: int = 13) -> Overlap:
  """Duplicates, and n words in a row that training and held-out texts share.

  Words are compared without case and punctuation; a text of fewer than n words is compared whole.

  Args:
    train, test: texts.
    ngram: n.

  Examples:
    >>> found = data.overlap(['Add two and two.', 'Sort them.'], ['add TWO and two'], ngram=3)
    >>> print(str(found).split(';')[0])
    of 1 held-out prompts 1 are among 2 training prompts, 1 share 3 words in a row with one

  Source: Brown et al. 2020, arXiv 2005.14165, appendix C (13-gram overlap).
  Differs from the source: no list of frequent n-grams that do not count.
  """
  wanted = [_pieces(text, ngram) for text in test]
  every = set().union(*wanted) if wanted else set()
  whole = {_plain(text) for text in test}
  seen, pieces, same, repeated, count = set(), set(), set(), 0, 0
  for text in train:
    count += 1
    plain = _plain(text)
    repeated += plain in seen
    seen.add(plain)
    same |= {plain} & whole
    pieces |= _pieces(text, ngram) & every
  shared = [text for text, own in zip(test, wanted) if own & pieces]
  return Overlap(
    num_train=count,
    num_test=len(test),
    repeated=repeated,
    same=sum(_plain(text) in same for text in test),
    shared=len(shared),
    examples=tuple(shared[:3]),
    ngram=ngram,
  )


def _plain(text: str) -> tuple[str, ...]:
  """The words; where there are none, the text."""
  return tuple(_WORD.findall(text.lower())) or (text,)


def _pieces(text: str, ngram: int) -> set[tuple[str, ...]]:
  found = _plain(text)
  return {found[i : i + ngram] for i in range(max(len(found) - ngram, 0) + 1)}
