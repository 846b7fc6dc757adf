"""How much a completion is about its prompt, or says what a reference says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from rljax.rewards import similarity

TO = ('prompt', 'answer')


def relevance(
  completions: Sequence[str],
  prompts: Sequence[str],
  answers: Sequence[Any],
  *,
  to: str = 'prompt',
  embed: Callable[[Sequence[str]], Sequence[Sequence[float]]] | None = None,
) -> list[float]:
  """cos(e(completion), e(prompt)), or of the answer; 0 where one of them is the zero vector.

  Relevance alone is easily won by saying the prompt again: give it with rewards of length and of
  repetition (`rewards.style`), and where the answer is known compare with that.

  Args:
    completions, prompts, answers: of a batch.
    to: what the completion is compared with: 'prompt', or 'answer' as `str` writes it.
    embed: `embed(texts) -> vectors`, such as a retriever of this process; None = how often each of
      `similarity.normalized_words` occurs.

  Returns:
    For each a number between −1 and 1; from 0 on without `embed`.

  Raises:
    ValueError: another `to`, or vectors that are not as many as texts, or of different lengths.

  Source: Preference-free Alignment Learning with Regularized Relevance Reward (2024).
  Differs from the source: words in the place of a retriever, where none is given.
  """
  _check(to)
  others = list(prompts) if to == 'prompt' else [str(answer) for answer in answers]
  if embed is None:
    return [_of_words(text, other) for text, other in zip(completions, others)]
  texts = [*completions, *others]
  vectors = [[float(x) for x in vector] for vector in embed(texts)]
  if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) > 1:
    raise ValueError(
      f'relevance: embed gave {len(vectors)} vectors of the lengths '
      f'{sorted({len(vector) for vector in vectors})} for {len(texts)} texts; needs one for each, '
      'all of one length'
    )
  half = len(completions)
  return [_cosine(one, other) for one, other in zip(vectors[:half], vectors[half:])]


def _check(to: str = 'prompt', **_: Any) -> None:
  if to not in TO:
    raise ValueError(f'relevance: to={to!r} is none of {", ".join(TO)}')


relevance.level = 'batch'
relevance.check = _check
relevance.objects_in = ('embed',)


def _of_words(text: str, other: str) -> float:
  counts = [Counter(similarity.normalized_words(t)) for t in (text, other)]
  words = sorted(counts[0] | counts[1])
  return _cosine(*([count[word] for word in words] for count in counts))


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
  norms = math.hypot(*one) * math.hypot(*other)
  return sum(x * y for x, y in zip(one, other)) / norms if norms else 0.0
