"""What tasks on words share: the answer is one word, and a completion is right or wrong."""

from __future__ import annotations

from collections.abc import Set

from rljax.prompts import Prompt

LETTERS = 'abcdefghijklmnopqrstuvwxyz'


def reward(completion: str, answer: str) -> dict[str, float]:
  """1 if the completion is the answer, else 0.

  Returns:
    'reward', and the component 'similarity': the fraction of places that agree.
  """
  agree = sum(a == b for a, b in zip(completion, answer))
  similarity = agree / max(len(completion), len(answer), 1)
  return {'reward': float(completion == answer), 'similarity': similarity}


def demonstrate(prompt: Prompt) -> str:
  """The answer."""
  return prompt.answer


def is_word(completion: str, letters: Set[str]) -> bool:
  """Whether there is something, and nothing but letters: the format without the answer."""
  return bool(completion) and set(completion) <= letters
