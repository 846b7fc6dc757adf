"""Ranking: items in the order of their scores, the best first; a score is a sum of scattered parts.

    prompt      b3,k7,q1,k2,q9,b5>
    completion  qkb, or the best one alone after its reasons: b8,k9,q10>q
"""

from __future__ import annotations

import functools
import re
from collections import Counter

from rljax.prompts import Prompt, Task
from rljax.rewards import rankings
from rljax.tasks import drawn, procedural
from rljax.tasks.words import LETTERS, demonstrate, is_word

ALPHABET = LETTERS + '0123456789,>'
_REASONED = re.compile(r'[a-z0-9,]+>([a-z])')


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


def choice(completion: str, answer: str) -> dict[str, float]:
  """1 if the completion has reasons and a choice, and the choice is right; else 0.

  Nothing is asked of the reasons but that there are any.

  Args:
    completion: `<letters, digits and commas>><item>`.
    answer: the best item.

  Returns:
    'reward', and the component 'format'.
  """
  chosen = _REASONED.fullmatch(completion)
  is_right = chosen is not None and chosen.group(1) == answer
  return {'reward': float(is_right), 'format': float(chosen is not None)}


def ranking(
  *,
  choose: bool = False,
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
    choose: whether the best item alone is asked for, after reasons; the reward is then `choice`.
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

  Examples:
    >>> task = tasks.ranking(num_train=8, num_test=4)
    >>> print(task.train[0].text, task.demonstrate(task.train[0]))
    h18,e2,x7,h8,x20,e20,l9,l3> xhel
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
      metadata = {'scores': dict(scores)}
      return f'{said}>', answer[0] if choose else answer, metadata

    return drawn.Problem(','.join(f'{item}{part}' for item, part in sorted(parts)), write)

  return drawn.drawn(
    'ranking',
    propose,
    advice='raise high or num_parts',
    num_train=num_train,
    num_test=num_test,
    test_fraction=test_fraction,
    seed=seed,
    reward='tasks.ranking.choice'
    if choose
    else {'name': 'tasks.ranking.reward', 'exponential': exponential},
    demonstrate=_with_reasons if choose else demonstrate,
    well_formed=_is_choice
    if choose
    else functools.partial(is_word, letters=frozenset(LETTERS)),
  )


def _with_reasons(prompt: Prompt) -> str:
  """The score of each item, then the best one."""
  scores = ','.join(f'{item}{score}' for item, score in prompt.metadata['scores'].items())
  return f'{scores}>{prompt.answer}'


def _is_choice(completion: str) -> bool:
  return _REASONED.fullmatch(completion) is not None
