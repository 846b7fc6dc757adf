"""A text game: find a number by questions that are answered by higher or lower."""

from __future__ import annotations

import dataclasses
import random
import re
from typing import Any

from rljax.environments.protocol import Reply, Turn
from rljax.prompts import Prompt


def guessing(
  *,
  low: int = 0,
  high: int = 99,
  max_turns: int = 8,
  stop: str = '?',
  higher: str = '+',
  lower: str = '-',
  unreadable: str = '!',
  turn_tokens: int = 8,
  max_observation: int = 8,
) -> Guessing:
  """The policy guesses `<number>?` and hears whether the secret is higher or lower.

  The secret is the prompt's answer where that is an integer, else drawn uniformly. The reward of
  the turn that finds it is 1, that of others 0; `outcome` has 'solved' and 'turns'.

  Args:
    low, high: range of the secret, both included.
    max_turns: guesses.
    stop: ends a guess.
    higher, lower, unreadable: what is heard; the last where a turn holds no number.
    turn_tokens, max_observation: tokens.

  Raises:
    ValueError: an empty range.

  Examples:
    >>> from rljax.environments import Turn
    >>> from rljax.prompts import Prompt
    >>> game = environments.guessing(low=0, high=9)
    >>> episode = game.reset(Prompt(text='', prompt_id=0, answer=7), seed=0)
    >>> print(episode.step(Turn((), '3?', False, 0)).observation)  # higher
    +
    >>> last = episode.step(Turn((), '7?', False, 1))
    >>> print(last.reward, last.done)
    1.0 True
  """
  if low > high:
    raise ValueError(f'guessing: there is no number from low={low} to high={high}')
  hears = (higher, lower, unreadable)
  return Guessing((stop,), turn_tokens, max_observation, low, high, max_turns, hears)


@dataclasses.dataclass(frozen=True)
class Guessing:
  """The environment that `guessing` makes."""

  stops: tuple[str, ...]
  turn_tokens: int
  max_observation: int
  low: int
  high: int
  max_turns: int
  hears: tuple[str, str, str]

  def reset(self, prompt: Prompt, seed: int) -> Game:
    secret = prompt.answer
    if not isinstance(secret, int):
      secret = random.Random(seed).randint(self.low, self.high)
    return Game(self, secret)


class Game:
  """One secret."""

  def __init__(self, environment: Guessing, secret: int):
    self._environment, self._secret = environment, secret
    self._solved, self._turns = False, 0

  def step(self, turn: Turn) -> Reply:
    own = self._environment
    self._turns += 1
    last = self._turns >= own.max_turns or turn.truncated
    found = re.search(r'-?[0-9]{1,18}', turn.text)
    if found is None:
      return Reply(own.hears[2], done=last, counts={'unreadable': 1})
    guess = int(found.group())
    self._solved = guess == self._secret
    if self._solved:
      return Reply(reward=1.0, done=True, counts={'solved': 1})
    return Reply(own.hears[0] if guess < self._secret else own.hears[1], done=last)

  def outcome(self) -> dict[str, Any]:
    return {'solved': self._solved, 'turns': self._turns}
