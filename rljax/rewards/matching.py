"""Rewards that compare a completion with the answer of its prompt by degrees.

Each returns 'reward' and the component 'found': whether there was something to compare. Of several
references the best counts. `tag` names the part of the completion that is compared: what stands in
its last `<tag>…</tag>`; '' = all of it. Without that part the reward is 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rljax.rewards import layout, rankings, similarity

_NUMBER = r'[-+]?(?:\d+(?:\.\d*)?|\.\d+)'
_INTERVAL = re.compile(rf'(?<![\d.])({_NUMBER})\s*(?:,|;|:|–|-|\bto\b)\s*({_NUMBER})')
_LIST_MARK = re.compile(r'^\s*(?:[-*•]|\(?\d{1,3}[.):])\s+')
METRICS = ('ndcg', 'recall', 'reciprocal_rank', 'rank_biased_overlap')


def exact(completion: str, answer: str | Sequence[str], *, tag: str = '') -> dict[str, float]:
  """`similarity.exact_match` with the answer.

  Args:
    completion: any text.
    answer: a reference, or several.
    tag: of the part that is compared.
  """
  return _best(completion, answer, tag, similarity.exact_match)


def words(completion: str, answer: str | Sequence[str], *, tag: str = '') -> dict[str, float]:
  """`similarity.token_f1` with the answer; arguments as in `exact`."""
  return _best(completion, answer, tag, similarity.token_f1)


def edits(completion: str, answer: str | Sequence[str], *, tag: str = '') -> dict[str, float]:
  """`similarity.edit_ratio` of the characters; arguments as in `exact`."""
  return _best(completion, answer, tag, similarity.edit_ratio)


def rouge(
  completion: str, answer: str | Sequence[str], *, tag: str = '', beta: float = 1.0
) -> dict[str, float]:
  """`similarity.rouge_l` with the answer.

  Args:
    completion, answer, tag: as in `exact`.
    beta: above 1 recall counts more.
  """
  return _best(completion, answer, tag, lambda x, y: similarity.rouge_l(x, y, beta=beta))


def members(
  completion: str, answer: Sequence[str], *, tag: str = '', separator: str = '\n'
) -> dict[str, float]:
  """`rankings.set_iou` of the items that the completion lists with those of the answer.

  Args:
    completion: items, with or without list marks, upper or lower case.
    answer: the items.
    tag: of the part that is compared.
    separator: between items.
  """
  found = _items(layout.section(completion, tag), separator)
  wanted = [_item(item) for item in _several(answer, 'items')]
  return _result(found, lambda: rankings.set_iou(found, wanted))


def intervals(
  completion: str, answer: Sequence[Sequence[float]], *, tag: str = ''
) -> dict[str, float]:
  """`rankings.interval_iou` of the intervals that the completion names with those of the answer.

  An interval is two numbers with `,` `;` `:` `-` or `to` between them; one that ends before it
  starts makes the reward 0.

  Args:
    completion: any text.
    answer: pairs of start and end.
    tag: of the part that is compared.
  """
  wanted = [(float(start), float(end)) for start, end in answer]
  text = layout.section(completion, tag) or ''
  found = [(float(start), float(end)) for start, end in _INTERVAL.findall(text)]
  if any(start > end for start, end in found):
    found = []
  return _result(found, lambda: rankings.interval_iou(found, wanted))


def ranking(
  completion: str,
  answer: Sequence[str] | Mapping[str, float],
  *,
  tag: str = '',
  separator: str = '\n',
  metric: str = 'ndcg',
  k: int | None = None,
  p: float = 0.9,
) -> dict[str, float]:
  """A measure of `rankings` of the list that the completion gives, the best first.

  Args:
    completion: items, with or without list marks, upper or lower case.
    answer: relevance by item, or the relevant items: equally relevant ones, but for
      'rank_biased_overlap' a ranked list.
    tag: of the part that is compared.
    separator: between items.
    metric: of `METRICS`.
    k: places that count, of 'ndcg' and 'recall'; None = all.
    p: of 'rank_biased_overlap'.

  Raises:
    ValueError: another metric.
  """
  if metric not in METRICS:
    raise ValueError(f'ranking: metric {metric!r} is none of {", ".join(METRICS)}')
  found = _items(layout.section(completion, tag), separator)
  if isinstance(answer, Mapping):
    graded = {_item(item): float(r) for item, r in answer.items()}
  else:
    graded = {_item(item): 1.0 for item in _several(answer, 'items')}
  relevant = [item for item, relevance in graded.items() if relevance > 0]

  def value() -> float:
    if metric == 'ndcg':
      return rankings.ndcg(found, graded, k=k)
    if metric == 'recall':
      return rankings.recall_at_k(found, relevant, k=k)
    if metric == 'reciprocal_rank':
      return rankings.reciprocal_rank(found, relevant)
    order = sorted(relevant, key=lambda item: -graded[item])
    return rankings.rank_biased_overlap(found, order, p=p)

  return _result(found, value)


def _best(
  completion: str, answer: Any, tag: str, measure: Callable[[str, str], float]
) -> dict[str, float]:
  text = layout.section(completion, tag)
  references = [answer] if isinstance(answer, str) else _several(answer, 'references')
  return _result(text, lambda: max(measure(text or '', reference) for reference in references))


def _result(found: Any, value: Callable[[], float]) -> dict[str, float]:
  reward = value() if found else 0.0
  return {'reward': reward, 'found': float(bool(found))}


def _several(answer: Any, what: str) -> list[str]:
  good = isinstance(answer, Sequence) and not isinstance(answer, str | bytes)
  if not good or not answer or not all(isinstance(item, str) for item in answer):
    raise ValueError(f'answer {answer!r} is no list of {what}, each a text')
  return list(answer)


def _items(text: str | None, separator: str) -> list[str]:
  pieces = [_LIST_MARK.sub('', piece) for piece in (text or '').split(separator)]
  return [_item(piece) for piece in pieces if piece.strip()]


def _item(text: str) -> str:
  return ' '.join(text.lower().split()).strip(' .,;"\'`*')
