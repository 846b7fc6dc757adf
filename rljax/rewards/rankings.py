"""How good a ranked list is, and how far sets and intervals overlap. Standard library only.

In a ranked list the best item stands first. An item that is listed again keeps its later place
occupied and earns nothing there, so that repeating a good item does not pay.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

Interval = tuple[float, float]


def ndcg(
  ranked: Sequence[Hashable],
  relevance: Mapping[Hashable, float],
  *,
  k: int | None = None,
  exponential: bool = False,
) -> float:
  """DCG / DCG of the best order, DCG = Σ_i gain_i / log₂(i + 1) over the first k places.

  Args:
    ranked: items, the best first.
    relevance: of each item, ≥ 0; items that are not in it have 0.
    k: places that count; None = all.
    exponential: True: gain = 2^relevance − 1; False: gain = relevance.

  Raises:
    ValueError: a negative or no relevance, or k < 1.

  Source: Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques"; the
    exponential gain: Burges et al. 2005.
  Differs from the source: the discount log₂(i + 1) of public implementations.
  """
  gains, best = _gains(relevance, exponential)
  return _discounted([gains.get(item, 0.0) for item in _first(ranked)], k) / _discounted(best, k)


def _gains(
  relevance: Mapping[Hashable, float], exponential: bool
) -> tuple[dict[Hashable, float], list[float]]:
  """(gain of each item, gains in the best order)."""
  gains = {item: 2.0**r - 1 if exponential else float(r) for item, r in relevance.items()}
  if not gains or min(gains.values()) < 0 or max(gains.values()) <= 0:
    raise ValueError(f'ndcg: relevance {dict(relevance)!r}; needs numbers ≥ 0, one of them > 0')
  return gains, sorted(gains.values(), reverse=True)


def _discounted(gains: Sequence[float], k: int | None) -> float:
  return math.fsum(gain / math.log2(place + 2) for place, gain in enumerate(gains[: _places(k)]))


def ndcg_of_scores(
  scores: Mapping[Hashable, float],
  relevance: Mapping[Hashable, float],
  *,
  k: int | None = None,
  exponential: bool = False,
) -> float:
  """`ndcg` of the items in the order of their scores, in the mean over the orders of equal ones.

  So equal scores for everything earn what a random order does.

  Args:
    scores: of each item, the best the highest.
    relevance, k, exponential: as in `ndcg`.

  Raises:
    ValueError: as `ndcg`.

  Source: McSherry and Najork 2008, "Computing information retrieval performance measures
    efficiently in the presence of tied scores".
  Differs from the source: nothing
  """
  gains, best = _gains(relevance, exponential)
  tied: dict[float, list[float]] = {}
  for item, score in scores.items():
    tied.setdefault(score, []).append(gains.get(item, 0.0))
  expected: list[float] = []
  for score in sorted(tied, reverse=True):
    expected += [math.fsum(tied[score]) / len(tied[score])] * len(tied[score])
  return _discounted(expected, k) / _discounted(best, k)


def recall_at_k(
  ranked: Sequence[Hashable], relevant: Collection[Hashable], *, k: int | None = None
) -> float:
  """Share of the relevant items among the first k.

  Args:
    ranked: items, the best first.
    relevant: at least one item.
    k: places that count; None = all.

  Raises:
    ValueError: nothing is relevant, or k < 1.
  """
  wanted = _relevant(relevant)
  return len(wanted & set(ranked[: _places(k)])) / len(wanted)


def reciprocal_rank(ranked: Sequence[Hashable], relevant: Collection[Hashable]) -> float:
  """1 / place of the first relevant item; 0 if there is none.

  Args:
    ranked: items, the best first.
    relevant: at least one item.

  Raises:
    ValueError: nothing is relevant.
  """
  wanted = _relevant(relevant)
  return next((1 / place for place, item in enumerate(ranked, 1) if item in wanted), 0.0)


def rank_biased_overlap(
  ranked: Sequence[Hashable], reference: Sequence[Hashable], *, p: float = 0.9
) -> float:
  """(1 − p)·Σ_d p^{d−1}·A_d, A_d = share of the first d places that both lists have in common.

  Extrapolated: behind the end of a list its agreement up to there goes on, so that equal lists
  give 1 whatever their length.

  Args:
    ranked: items, the best first.
    reference: items, the best first; not empty.
    p: how little the depth matters, in (0, 1): the first 10 places carry about 86 % of the weight
      at 0.9.

  Raises:
    ValueError: p outside of (0, 1), or an empty reference.

  Source: Webber et al. 2010, "A similarity measure for indefinite rankings", equation 32.
  Differs from the source: nothing
  """
  if not 0 < p < 1 or not reference:
    raise ValueError(f'rank_biased_overlap: p={p}, reference={list(reference)!r}; needs 0 < p < 1 '
                     'and an item at least')
  if not ranked:
    return 0.0
  short, long = sorted((_first(ranked), _first(reference)), key=len)
  few, many = len(short), len(long)
  overlap, seen_short, seen_long = [0], set(), set()
  for depth in range(many):
    seen_long.add(long[depth])
    if depth < few:
      seen_short.add(short[depth])
    overlap.append(len(seen_short & seen_long))
  rate = overlap[few] / few  # of the shorter list's places, beyond its end
  shares = [
    (overlap[d] + rate * max(d - few, 0)) / d * p ** (d - 1) for d in range(1, many + 1)
  ]
  at_end = (overlap[many] + rate * (many - few)) / many
  return (1 - p) * math.fsum(shares) + at_end * p**many


def distribution_match(one: Sequence[float], other: Sequence[float], *, span: float) -> float:
  """max(0, 1 − W₁/span), W₁ the mean distance of equally many numbers, each set in its order.

  It does not ask which number belongs to what: it is 1 for any permutation.

  Args:
    one, other: equally many numbers, at least one.
    span: distance at which nothing is left, > 0.

  Raises:
    ValueError: sets of different sizes, empty ones, or span ≤ 0.
  """
  if len(one) != len(other) or not one or not span > 0:
    raise ValueError(f'distribution_match: {len(one)} and {len(other)} numbers, span={span}; needs '
                     'equally many, one at least, and span > 0')
  apart = math.fsum(abs(a - b) for a, b in zip(sorted(one), sorted(other))) / len(one)
  return max(0.0, 1 - apart / span)


def set_iou(one: Iterable[Hashable], other: Iterable[Hashable]) -> float:
  """Size of the intersection / size of the union; 1 if both are empty."""
  one, other = set(one), set(other)
  return len(one & other) / len(one | other) if one or other else 1.0


def interval_iou(one: Iterable[Interval], other: Iterable[Interval]) -> float:
  """Length of the intersection / length of the union of two sets of intervals.

  Intervals of one set may overlap: what they cover counts once.

  Args:
    one, other: (start, end), start ≤ end, in any unit.

  Raises:
    ValueError: an interval ends before it starts or is not finite, or nothing has a length.
  """
  one, other = list(one), list(other)
  for start, end in (*one, *other):
    if not (math.isfinite(start) and math.isfinite(end) and start <= end):
      raise ValueError(f'interval_iou: ({start}, {end}) is no interval with start ≤ end')
  united = _covered([*one, *other])
  if not united:
    raise ValueError(f'interval_iou: {one} and {other} have no length')
  return (_covered(one) + _covered(other) - united) / united


def _covered(intervals: Sequence[Interval]) -> float:
  total, reached = 0.0, -math.inf
  for start, end in sorted(intervals):
    if end > reached:
      total += end - max(start, reached)
      reached = end
  return total


def _first(ranked: Sequence[Hashable]) -> list[Hashable]:
  """The list with a mark of its own, equal to nothing, where an item is listed again."""
  seen: set[Hashable] = set()
  found: list[Hashable] = []
  for item in ranked:
    found.append(object() if item in seen else item)
    seen.add(item)
  return found


def _relevant(relevant: Collection[Hashable]) -> set[Hashable]:
  if not relevant:
    raise ValueError('nothing is relevant: the answer must name an item at least')
  return set(relevant)


def _places(k: int | None) -> int | None:
  if k is not None and k < 1:
    raise ValueError(f'k={k}; needs a place at least')
  return k
