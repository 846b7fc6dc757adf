"""Users: somebody, such as another model, answers what the policy says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rljax import binding
from rljax.environments.protocol import Reply, Turn
from rljax.prompts import Prompt


def user(
  *,
  answer: str | Mapping[str, Any],
  speech: tuple[str, str] = ('\nUser: ', '\nAssistant: '),
  stops: tuple[str, ...] = ('\nUser:',),
  end: str = '',
  max_turns: int = 8,
  turn_tokens: int = 0,
  max_observation: int = 512,
) -> Users:
  """A conversation with a user who is a function, a judge's client or a model behind an endpoint.

  Args:
    answer: dotted name or node of `(prompt, said, heard, seed) -> text`: the `Prompt`, what the
      policy has said and what it has heard so far (lists of text), and the seed of the episode.
    speech: what stands around what the user says.
    stops: texts that end a turn.
    end: an answer that begins with this ends the episode; '' = none does.
    max_turns: an episode ends with the turn of this number.
    turn_tokens, max_observation: tokens.

  Raises:
    BindingError: there is no such function.

  Examples:
    >>> import sys, types
    >>> def answer(prompt, said, heard, seed):
    ...   return 'And then?'
    >>> sys.modules['my_user'] = types.SimpleNamespace(answer=answer)  # a module of yours
    >>> from rljax.environments import Turn
    >>> from rljax.prompts import Prompt
    >>> users = environments.user(answer='my_user.answer')
    >>> talk = users.reset(Prompt(text='', prompt_id=0), seed=0)
    >>> print(talk.step(Turn((), 'First, sort them.', False, 0)).observation.strip())
    User: And then?
    Assistant:
  """
  node = {'name': answer} if isinstance(answer, str) else dict(answer)
  bound = binding.bind(node, ('prompt', 'said', 'heard', 'seed'))
  return Users(tuple(stops), turn_tokens, max_observation, bound, tuple(speech), end, max_turns)


@dataclasses.dataclass(frozen=True)
class Users:
  """The environment that `user` makes."""

  stops: tuple[str, ...]
  turn_tokens: int
  max_observation: int
  answer: Callable[[dict[str, Any]], str]
  speech: tuple[str, str]
  end: str
  max_turns: int

  def reset(self, prompt: Prompt, seed: int) -> Conversation:
    return Conversation(self, prompt, seed)


class Conversation:
  """One conversation with a user."""

  def __init__(self, users: Users, prompt: Prompt, seed: int):
    self._users, self._prompt, self._seed = users, prompt, seed
    self.said: list[str] = []
    self.heard: list[str] = []

  def step(self, turn: Turn) -> Reply:
    own = self._users
    text = turn.text
    for stop in own.stops:
      text = text.removesuffix(stop)
    self.said.append(text)
    if turn.truncated or turn.number + 1 >= own.max_turns:
      return Reply(done=True)
    told: Sequence[Any] = (self._prompt, list(self.said), list(self.heard), self._seed)
    answer = own.answer(dict(zip(('prompt', 'said', 'heard', 'seed'), told)))
    if own.end and answer.startswith(own.end):
      return Reply(done=True, counts={'ended': 1})
    self.heard.append(answer)
    return Reply(f'{own.speech[0]}{answer}{own.speech[1]}')

  def outcome(self) -> dict[str, Any]:
    return {'said': list(self.said), 'heard': list(self.heard)}
