"""Texts as vectors of length 1, and how near two of them are. Standard library only.

A vector is a dict of its components that are not 0; that of nothing is {}.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

Vector = Mapping[Hashable, float]
Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]


def cosine(one: Vector, other: Vector) -> float:
  """⟨x, y⟩ of vectors of length 1; 0 where one of them is {}."""
  short, long = sorted((one, other), key=len)
  return math.fsum(x * long[key] for key, x in short.items() if key in long)


def counts(items: Iterable[Hashable]) -> Vector:
  """How often each item occurs, as a vector of length 1."""
  return _unit(Counter(items))


def ngrams(text: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
  """Runs of n items; the whole as one where there are fewer, none of nothing."""
  size = max(min(n, len(text)), 1)
  return [tuple(text[i : i + size]) for i in range(len(text) - size + 1)]


def embedded(label: str, texts: Sequence[str], embed: Embed) -> list[Vector]:
  """What `embed` gives, as vectors of length 1.

  Args:
    label: whose mistake a message says it is.
    texts: of a batch.
    embed: `embed(texts) -> vectors`, such as an encoder of this process.

  Raises:
    ValueError: vectors that are not as many as texts, or of different lengths.
  """
  vectors = [[float(x) for x in vector] for vector in embed(texts)]
  if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) > 1:
    raise ValueError(
      f'{label}: embed gave {len(vectors)} vectors of the lengths '
      f'{sorted({len(vector) for vector in vectors})} for {len(texts)} texts; needs one for each, '
      'all of one length'
    )
  return [_unit(dict(enumerate(vector))) for vector in vectors]


def _unit(vector: Mapping[Hashable, float]) -> Vector:
  norm = math.hypot(*vector.values())
  return {key: x / norm for key, x in vector.items() if x}
