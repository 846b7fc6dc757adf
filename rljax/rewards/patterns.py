"""Reward for the words of reasoning alone, whether they lead anywhere or not."""

from __future__ import annotations

from collections.abc import Sequence

from rljax.rewards import style

PHRASES = (
  'first',
  'i need to',
  'let me',
  'since',
  'therefore',
  'so the',
  'check',
  'wait',
)
"""Words that reasoning in English shows."""


def phrases(
  completion: str,
  *,
  phrases: Sequence[str] = PHRASES,
  most: int = 2,
  cap: int = 8,
  repeated: float = 0.5,
) -> dict[str, float]:
  """min(Σ_p min(number of p, most), cap) / cap; 0 where too many n-grams are repeated.

  No answer is looked at. Upper and lower case are the same.

  Args:
    completion: any text.
    phrases: texts that count, wherever they stand.
    most: times that one of them counts.
    cap: counts of a full reward.
    repeated: largest share of repeated `style.repetition` n-grams that is paid for, as a fraction.

  Returns:
    'reward', and the components 'found' (different phrases) and 'repeated', a fraction.

  Raises:
    ValueError: no phrases, an empty one, or most or cap below 1.

  Source: The Climb Carves Wisdom Deeper Than the Summit: On the Noisy Rewards in Learning to
    Reason (2025), the reasoning pattern reward.
  Differs from the source: its own phrases; formula not confirmed against the paper.
  """
  if not phrases or isinstance(phrases, str) or not all(phrases) or most < 1 or cap < 1:
    raise ValueError(
      f'phrases: phrases={phrases!r}, most={most}, cap={cap}; needs a list of texts, most ≥ 1, '
      'cap ≥ 1'
    )
  text = completion.lower()
  counts = [text.count(phrase.lower()) for phrase in phrases]
  share = -style.repetition(completion)
  score = min(sum(min(count, most) for count in counts), cap) / cap
  reward = score if share <= repeated else 0.0
  return {'reward': reward, 'found': sum(count > 0 for count in counts), 'repeated': share}
