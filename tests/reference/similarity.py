"""Measures of texts and rankings from their definitions, slowly."""

import itertools
import math


def edit_distance(one, other):
  table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
  for i, j in itertools.product(range(len(one) + 1), range(len(other) + 1)):
    if not i or not j:
      table[i][j] = i + j
    else:
      replaced = table[i - 1][j - 1] + (one[i - 1] != other[j - 1])
      table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, replaced)
  return table[-1][-1]


def common_subsequence(one, other):
  """Tries every subsequence of `one`, the longest first."""
  for size in range(len(one), 0, -1):
    for chosen in itertools.combinations(one, size):
      rest = iter(other)
      if all(any(item == x for x in rest) for item in chosen):
        return size
  return 0


def f_measure(shared, found, wanted, beta=1.0):
  if not shared:
    return 0.0
  precision, recall = shared / found, shared / wanted
  return (1 + beta**2) / (1 / precision + beta**2 / recall)


def shared_words(one, other):
  """Pairs off equal words one by one."""
  left, shared = list(other), 0
  for word in one:
    if word in left:
      left.remove(word)
      shared += 1
  return shared


def dcg(gains, k):
  return sum(gain / math.log2(i + 1) for i, gain in enumerate(gains, 1) if k is None or i <= k)


def ndcg(ranked, relevance, k=None, exponential=False):
  """Divides by the best of all orders, all of which are tried."""
  def gain(item):
    return 2 ** relevance.get(item, 0) - 1 if exponential else relevance.get(item, 0)

  gains = [gain(item) if item not in ranked[:i] else 0 for i, item in enumerate(ranked)]
  orders = itertools.permutations([gain(item) for item in relevance])
  return dcg(gains, k) / max(dcg(order, k) for order in orders)


def rank_biased_overlap(ranked, reference, p, depth=3000):
  """Sums the definition; beyond the end of a list its agreement at the end goes on."""
  short, long = sorted((ranked, reference), key=len)
  if not short:
    return 0.0
  rate = len(set(short) & set(long[: len(short)])) / len(short)
  total = 0.0
  for d in range(1, depth + 1):
    common = len(set(short[:d]) & set(long[:d]))
    agreement = (common + rate * max(d - len(short), 0)) / d
    if d > len(long):
      n = len(long)
      agreement = (len(set(short) & set(long)) + rate * (n - len(short))) / n
    total += (1 - p) * p ** (d - 1) * agreement
  return total


def interval_iou(one, other, cells=1000):
  """Counts cells of a fine grid over [0, 1]; ends of the intervals lie on the grid."""
  def inside(intervals, x):
    return any(start < x < end for start, end in intervals)

  places = [(i + 0.5) / cells for i in range(cells)]
  both = sum(inside(one, x) and inside(other, x) for x in places)
  return both / sum(inside(one, x) or inside(other, x) for x in places)
