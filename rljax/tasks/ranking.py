"""Ranking: items in the order of their scores, the best first; a score is a sum of scattered parts.

    prompt      b3,k7,q1,k2,q9,b5>
    completion  qkb
"""

from __future__ import annotations

import functools
from collections import Counter

from rljax.prompts import Task
from rljax.rewards import rankings
from rljax.tasks import drawn, procedural
from rljax.tasks.words import LETTERS, demonstrate, is_word

ALPHABET = LETTERS + '0123456789,>'


def reward(completion: str, answer: str, *, exponential: bool = True) -> dict[str, float]:
  """NDCG of the completion, where the last of n items has relevance 1 and the first n.

  0 for a list with an item that is not of the prompt or stands there twice. A list that leaves
  items out earns what the others give.

  Args:
    completion: items in a row, the best first.
    answer: all of them in the right order.
    exponential: gain 2^relevance − 1, so that the first places matter most; else the relevance.

  Returns:
    'reward', and the component 'accuracy': 1 if the order is right in every place, else 0.
  """
  is_list = len(set(completion)) == len(completion) and set(completion) <= set(answer)
  relevance = {item: len(answer) - place for place, item in enumerate(answer)}
  quality = rankings.ndcg(completion, relevance, exponential=exponential) if is_list else 0.0
  return {'reward': quality, 'accuracy': float(completion == answer)}


def ranking(
  *,
  num_items: int = 4,
  num_parts: int = 2,
  high: int = 20,
  exponential: bool = True,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Items to rank; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  Items with the same parts, in whatever order, are on the same side of the split.

  Args:
    num_items: letters to rank, at most 26; no two have the same score.
    num_parts: numbers of 1 … high whose sum is a score; 1 = the score is said.
    high: largest part.
    exponential: of the reward.
    num_train: training prompts; a problem may come up more than once.
    num_test: held-out problems, all different.
    test_fraction: share of all problems that is held out, as a fraction.
    seed: of the problems, not of the split.

  Raises:
    ValueError: an impossible range, or fewer than `num_test` held-out problems.
  """
  fewest = 2 <= num_items <= len(LETTERS) and num_parts >= 1 and high >= 1
  if not fewest or num_parts * (high - 1) + 1 < num_items:
    raise ValueError(
      f'ranking: num_items={num_items}, num_parts={num_parts}, high={high}; needs 2 ≤ num_items ≤ '
      f'{len(LETTERS)}, num_parts ≥ 1, and a score of its own for each item: '
      'num_parts·(high − 1) + 1 ≥ num_items'
    )

  def propose(draw: procedural.Draw) -> drawn.Problem | None:
    items = draw.shuffled(LETTERS)[:num_items]
    parts = [(item, draw.between(1, high)) for item in items for _ in range(num_parts)]
    scores = Counter()
    for item, part in parts:
      scores[item] += part
    if len(set(scores.values())) < num_items:
      return None
    answer = ''.join(sorted(items, key=scores.get, reverse=True))

    def write():
      said = ','.join(f'{item}{part}' for item, part in draw.shuffled(parts))
      return f'{said}>', answer, {'scores': dict(scores)}

    return drawn.Problem(','.join(f'{item}{part}' for item, part in sorted(parts)), write)

  return drawn.drawn(
    'ranking',
    propose,
    advice='raise high or num_parts',
    num_train=num_train,
    num_test=num_test,
    test_fraction=test_fraction,
    seed=seed,
    reward={'name': 'tasks.ranking.reward', 'exponential': exponential},
    demonstrate=demonstrate,
    well_formed=functools.partial(is_word, letters=frozenset(LETTERS)),
  )
