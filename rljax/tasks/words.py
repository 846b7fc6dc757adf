"""What tasks on words share: the answer is one word, and a completion is right or wrong."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from rljax.prompts import Prompt, TokenTwin
from rljax.tasks.procedural import Draw

LETTERS = 'abcdefghijklmnopqrstuvwxyz'


def reward(completion: str, answer: str) -> dict[str, float]:
  """1 if the completion is the answer, else 0.

  Returns:
    'reward', and the component 'similarity': the fraction of places that agree.
  """
  agree = sum(a == b for a, b in zip(completion, answer))
  similarity = agree / max(len(completion), len(answer), 1)
  return {'reward': float(completion == answer), 'similarity': similarity}


def step_scores(completion: str, answer: str) -> list[tuple[str, float]]:
  """Each letter as a step, and 1 if it is in its place, else 0."""
  wanted = answer.ljust(len(completion), '\0')
  return [(letter, float(letter == right)) for letter, right in zip(completion, wanted)]


def half_scores(completion: str, answer: str) -> list[tuple[str, float]]:
  """Two stages, as many letters as half of the answer and the rest: the share of each in place."""
  middle = (len(answer) + 1) // 2
  stages = (completion[:middle], answer[:middle]), (completion[middle:], answer[middle:])
  return [(said, reward(said, right)['similarity']) for said, right in stages if said]


def right_beginning(prompt: Prompt, said: str) -> str:
  """Feedback: the answer up to the first letter that is wrong, which is put right."""
  size = next((i for i, c in enumerate(prompt.answer) if said[i : i + 1] != c), len(prompt.answer))
  return prompt.answer[: size + 1]


def whole_answer(prompt: Prompt, said: str) -> str:
  """Feedback: the answer, whatever was said."""
  del said
  return prompt.answer


def demonstrate(prompt: Prompt) -> str:
  """The answer."""
  return prompt.answer


def is_word(completion: str, letters: Set[str]) -> bool:
  """Whether there is something, and nothing but letters: the format without the answer."""
  return bool(completion) and set(completion) <= letters


def token_twin(
  letters: str, longest: int, prompts: Callable[..., tuple[Any, Any, dict[str, Any]]]
) -> TokenTwin:
  """The reward on token arrays, for prompts of one's own.

  Args:
    letters: that words are made of; ids as of `tokenization.characters(alphabet=letters + '>')`.
    longest: letters of the longest answer.
    prompts: as in `TokenTwin`; answers are {'word': ids [Q, longest], 'size': [Q]}.
  """
  ids = {letter: i + 2 for i, letter in enumerate(letters)}

  def token_reward(tokens, length, answer):
    from rljax.tasks import token_words

    return token_words.reward(tokens, length, answer['word'], answer['size'])

  def answer(prompt: Prompt):
    import numpy as np

    word = [ids[letter] for letter in prompt.answer]
    padded = np.array(word + [0] * (longest - len(word)), np.int32)
    return {'word': padded, 'size': np.int32(len(word))}

  return TokenTwin(prompts=prompts, reward=token_reward, answer=answer)


def candidates(prompt: Prompt, draw: int) -> list[tuple[str, float]]:
  """Up to four answers with different numbers of wrong letters, and the fraction that is right.

  In random order. Wrong letters are letters of the answer, so only order and count give them away.
  """
  random = Draw('candidates', prompt.text, draw)
  numbers = random.shuffled(range(min(len(prompt.answer), 4) + 1))[:4]
  found = []
  for wrong in numbers:
    places = set(random.shuffled(range(len(prompt.answer)))[:wrong])
    letters = [
      _other(random, prompt.answer, i) if i in places else c for i, c in enumerate(prompt.answer)
    ]
    found.append((''.join(letters), 1 - wrong / len(prompt.answer)))
  return found


def steps(prompt: Prompt, draw: int) -> list[tuple[str, bool]]:
  """Each letter of an answer as a step; half of them are wrong."""
  random = Draw('steps', prompt.text, draw)
  found = []
  for place, letter in enumerate(prompt.answer):
    is_right = random.below(2) == 1
    found.append((letter if is_right else _other(random, prompt.answer, place), is_right))
  return found


def _other(random: Draw, word: str, place: int) -> str:
  """Another letter than the one at `place`: of the word, if there is one."""
  others = [c for c in word if c != word[place]]
  return random.one_of(others or [c for c in LETTERS[:2] if c != word[place]])
