"""How much a completion is about its prompt, or says what a reference says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rljax.rewards import embeddings, similarity

TO = ('prompt', 'answer')


def relevance(
  completions: Sequence[str],
  prompts: Sequence[str],
  answers: Sequence[Any],
  *,
  to: str = 'prompt',
  embed: embeddings.Embed | None = None,
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
  texts = [*completions, *others]
  if embed is None:
    vectors = [embeddings.counts(similarity.normalized_words(text)) for text in texts]
  else:
    vectors = embeddings.embedded('relevance', texts, embed)
  half = len(completions)
  return [embeddings.cosine(one, other) for one, other in zip(vectors[:half], vectors[half:])]


def _check(to: str = 'prompt', **_: Any) -> None:
  if to not in TO:
    raise ValueError(f'relevance: to={to!r} is none of {", ".join(TO)}')


relevance.level = 'batch'
relevance.check = _check
relevance.objects_in = ('embed',)
