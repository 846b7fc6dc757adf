"""Rewards for documents that a completion orders or scores, in one prompt or in several.

The answer of a prompt is the relevance by document, ≥ 0; of a prompt with one document its number.
A completion scores documents by writing numbers, one for each, in the order of the answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from rljax.rewards import layout, rankings

_NUMBERS = re.compile(r'-?\d+(?:\.\d+)?')


def permutation(
  completion: str, answer: Mapping[str, float], *, tag: str = '', separator: str = '>'
) -> float:
  """1 if the completion lists each document once and nothing else, else 0.

  Args:
    completion: `3 > 1 > 2`; white space and brackets around a document do not matter.
    answer: relevance by document.
    tag: of the part that holds the list; '' = all of it.
    separator: between documents.
  """
  part = layout.section(completion, tag)
  found = [] if part is None else [piece.strip(' \n\t[]') for piece in part.split(separator)]
  return float(sorted(found) == sorted(answer))


def numbers(completion: str, tag: str = '') -> list[float] | None:
  """The numbers of a part that holds nothing else but commas and white space; None if it does."""
  part = layout.section(completion, tag)
  if part is None or _NUMBERS.sub('', part).strip(', \n\t'):
    return None
  return [float(number) for number in _NUMBERS.findall(part)] or None


def order_of_scores(
  completion: str,
  answer: Mapping[str, float],
  *,
  tag: str = '',
  k: int | None = None,
  exponential: bool = False,
) -> dict[str, float]:
  """`rankings.ndcg_of_scores` of the documents as the completion scores them; 0 if it does not.

  Args:
    completion: a number for each document, in the order of the answer.
    answer: relevance by document.
    tag: of the part that holds the scores; '' = all of it.
    k: places that count; None = all.
    exponential: of the gain.

  Returns:
    'reward', and the components 'formatted' and 'accuracy': the share of scores that are equal to
    the relevance.
  """
  scores = numbers(completion, tag)
  if scores is None or len(scores) != len(answer):
    return {'reward': 0.0, 'formatted': 0.0, 'accuracy': 0.0}
  given = dict(zip(answer, scores))
  quality = rankings.ndcg_of_scores(given, answer, k=k, exponential=exponential)
  same = sum(given[item] == relevance for item, relevance in answer.items()) / len(answer)
  return {'reward': quality, 'formatted': 1.0, 'accuracy': same}


def score_distribution(
  completion: str, answer: Mapping[str, float], *, tag: str = '', span: float = 1.0
) -> float:
  """`rankings.distribution_match` of the scores with the relevances; 0 without the scores.

  An order is the same whatever is added to all scores; this is not, so that scores of different
  prompts can be compared.

  Args:
    completion: a number for each document.
    answer: relevance by document.
    tag: of the part that holds the scores; '' = all of it.
    span: of the scale of the scores.

  Source: GroupRank: A Groupwise Reranking Paradigm Driven by Reinforcement Learning (2025).
  Differs from the source: formula not confirmed against the paper.
  """
  scores = numbers(completion, tag)
  if scores is None or len(scores) != len(answer):
    return 0.0
  return rankings.distribution_match(scores, list(answer.values()), span=span)


def among_others(
  completions: Sequence[str],
  prompts: Sequence[str],
  answers: Sequence[float],
  metadata: Sequence[Mapping[str, Any]],
  *,
  by: str = 'set',
  tag: str = '',
  k: int | None = None,
  exponential: bool = False,
) -> list[Any]:
  """NDCG of the ranking that a document's score makes among the others of its query.

  A prompt holds one document. Its own score is the sample's; those of the others are the means over
  their samples in the batch, and a document that no sample has scored stands behind all of them.
  A completion without exactly one number gets 0 and has no say in the mean. So a sample is paid for
  what its score does to the list, which only samples of other prompts can tell.

  Args:
    completions, prompts, answers, metadata: of a batch; an answer is the document's relevance.
    by: key of the query in the metadata; prompts of one query stand for its documents.
    tag: of the part that holds the score; '' = all of it.
    k: places that count; None = all.
    exponential: of the gain.

  Returns:
    For each 'reward', and the components 'formatted' and 'rank' (places before it, equal ones
    half); an error for those whose query has no other document or no relevant one in the batch.

  Source: ERank: Fusing Supervised Fine-Tuning and Reinforcement Learning for Effective and
    Efficient Text Reranking (2025).
  Differs from the source: formula not confirmed against the paper.
  """
  scores = [_single(text, tag) for text in completions]
  sets: dict[Hashable, dict[str, list[float]]] = {}
  relevance: dict[Hashable, dict[str, float]] = {}
  for score, prompt, answer, given in zip(scores, prompts, answers, metadata):
    if by not in given:
      raise ValueError(f'among_others: metadata has no {by!r}; it has {", ".join(given) or "none"}')
    said = sets.setdefault(given[by], {}).setdefault(prompt, [])
    relevance.setdefault(given[by], {})[prompt] = float(answer)
    if score is not None:
      said.append(score)
  means = {
    name: {prompt: sum(said) / len(said) if said else -math.inf for prompt, said in own.items()}
    for name, own in sets.items()
  }
  found: list[Any] = []
  for score, prompt, given in zip(scores, prompts, metadata):
    name = given[by]
    if len(means[name]) < 2 or not max(relevance[name].values()) > 0:
      found.append(ValueError(
        f'among_others: query {name!r} has {len(means[name])} documents in the batch; needs two, '
        'one of them relevant (`curriculum.sets` draws those of a query together)'
      ))  # fmt: skip
    elif score is None:
      found.append({'reward': 0.0, 'formatted': 0.0})
    else:
      ranked = {**means[name], prompt: score}
      quality = rankings.ndcg_of_scores(ranked, relevance[name], k=k, exponential=exponential)
      above = sum(other > score for other in ranked.values())
      equal = sum(other == score for other in ranked.values()) - 1
      found.append({'reward': quality, 'formatted': 1.0, 'rank': above + equal / 2})
  return found


among_others.level = 'batch'


def _single(text: str, tag: str) -> float | None:
  said = numbers(text, tag)
  return said[0] if said is not None and len(said) == 1 else None
