"""A reward model: a function that gives a number for each completion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rljax.rewards.judges.conversation import JudgeError


def scored(
  completions: Sequence[str],
  prompts: Sequence[str],
  *,
  score: Callable[[Sequence[str], Sequence[str]], Sequence[float]],
  shift: float = 0.0,
  scale: float = 1.0,
  low: float = -math.inf,
  high: float = math.inf,
) -> list[dict[str, float] | JudgeError]:
  """(score − shift) / scale, cut to [low, high].

  Args:
    completions, prompts: of a batch.
    score: `score(prompts, completions) -> numbers`, such as a reward model of this process.
    shift: in units of the score.
    scale: in units of the score, > 0.
    low, high: of the reward.

  Returns:
    For each 'reward', and the components 'score' and 'cut' (whether it was beyond an end); or the
    error where the score is no finite number.

  Raises:
    ValueError: an impossible scale or range.
    JudgeError: another number of scores than of completions.

  Examples:
    >>> score = lambda prompts, completions: [len(text) for text in completions]
    >>> print(rewards.judges.scored(['ab', 'abcd'], ['', ''], score=score, scale=2.0, high=1.5))
    [{'reward': 1.0, 'score': 2.0, 'cut': False}, {'reward': 1.5, 'score': 4.0, 'cut': True}]
  """
  _check(scale, low, high)
  values = [float(value) for value in score(list(prompts), list(completions))]
  if len(values) != len(completions):
    raise JudgeError(f'score gave {len(values)} numbers for {len(completions)} completions')
  found: list[dict[str, float] | JudgeError] = []
  for value in values:
    if not math.isfinite(value):
      found.append(JudgeError(f'the reward model gave {value}'))
      continue
    reward = (value - shift) / scale
    cut = min(max(reward, low), high)
    found.append({'reward': cut, 'score': value, 'cut': cut != reward})
  return found


def _check(
  scale: float = 1.0, low: float = -math.inf, high: float = math.inf, **_: Any
) -> None:
  if not scale > 0 or not low < high:
    raise ValueError(f'scored: scale={scale}, low={low}, high={high}; needs scale > 0, low < high')


scored.level = 'batch'
scored.check = _check
scored.objects_in = ('score',)
