"""A few chosen prompts, again and again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rljax.curriculum.uniform import Uniform, uniform
from rljax.prompts import Prompt


def fixed(prompts: Sequence[Prompt], seed: int = 0, *, places: Sequence[int]) -> Uniform:
  """The prompts at some places and no other ones; a single place fills every batch.

  A prompt that comes up several times in a batch has as many groups of its own.

  Args:
    prompts: all that there are.
    seed: of the order.
    places: indices of `prompts`, at least one.

  Raises:
    ValueError: no places, or one that does not exist.

  Examples:
    >>> from rljax.prompts import Prompt
    >>> prompts = [Prompt(text=letter, prompt_id=i) for i, letter in enumerate('abc')]
    >>> print([p.text for p in curriculum.fixed(prompts, places=[1]).sample(3)])
    ['b', 'b', 'b']

  Source: Reinforcement Learning for Reasoning in Large Language Models with One Training Example
    (2025).
  """
  wrong = [place for place in places if not 0 <= place < len(prompts)]
  if wrong or not len(places):
    raise ValueError(
      f'curriculum.fixed: places={tuple(places)}; needs some of 0 … {len(prompts) - 1}'
    )
  return uniform([prompts[place] for place in places], seed)


def most_varied(accuracy: np.ndarray) -> np.ndarray:
  """Places of prompts by the variance of their accuracy over training, the largest first.

  Which examples `fixed` should repeat: those that are learnt and lost and learnt again.

  Args:
    accuracy: float [E, Q], the mean reward of each of Q prompts in each of E epochs.

  Returns:
    int [Q]; the one that stands first wins a tie.

  Raises:
    ValueError: not two axes, or no epoch.

  Examples:
    >>> accuracy = np.array([[0.0, 1.0, 0.5], [0.0, 1.0, 1.0], [1.0, 1.0, 0.5]])  # epochs, prompts
    >>> print(curriculum.most_varied(accuracy))  # the first is learnt late, the second always known
    [0 2 1]

  Source: Reinforcement Learning for Reasoning in Large Language Models with One Training Example
    (2025), the historical variance score.
  Differs from the source: formula not confirmed against the paper.
  """
  accuracy = np.asarray(accuracy, np.float64)
  if accuracy.ndim != 2 or not len(accuracy):
    raise ValueError(f'most_varied: accuracy of shape {accuracy.shape}; needs [epochs, prompts]')
  return np.argsort(-accuracy.var(axis=0), kind='stable')
