"""Other people's environments: in the manner of gymnasium, or of verifiers."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from rljax import binding
from rljax.environments.protocol import Reply, Turn
from rljax.prompts import Prompt


def gymnasium_style(
  *,
  make: str | Mapping[str, Any],
  read_action: str | None = None,
  observation: tuple[str, str] = ('', '\n'),
  stops: tuple[str, ...] = ('\n',),
  max_turns: int = 16,
  turn_tokens: int = 0,
  max_observation: int = 256,
) -> Adapter:
  r"""Episodes of an environment whose actions and observations are text, or can be read as such.

  `env.reset(seed=…) -> (observation, info)` and `env.step(action) -> (observation, reward,
  terminated, truncated, info)`; one environment for each episode, closed at its end. What `reset`
  observes is not heard: the prompt says where the episode begins. An action that `read_action`
  refuses by a ValueError is answered by an error, and the environment does not move.

  Args:
    make: dotted name or node of a function; called with `prompt`, gives the environment.
    read_action: dotted name of `text -> action`; None = the text, without blanks at its ends.
    observation: what stands around an observation.
    stops: texts that end a turn.
    max_turns: an episode ends with the turn of this number.
    turn_tokens, max_observation: tokens.

  Raises:
    BindingError: there is no such function.

  Examples:
    >>> class Walk:
    ...   def __init__(self, prompt):
    ...     self.place = 0
    ...   def reset(self, seed=None):
    ...     return 'at 0', {}
    ...   def step(self, action):
    ...     self.place += {'left': -1, 'right': 1}[action]
    ...     return f'at {self.place}', float(self.place == 1), self.place == 1, False, {}
    ...   def close(self):
    ...     pass
    >>> import sys, types
    >>> sys.modules['my_walk'] = types.SimpleNamespace(Walk=Walk)  # a module of yours
    >>> game = environments.gymnasium_style(make='my_walk.Walk')
    >>> print(game.stops, game.max_turns)
    ('\n',) 16
  """
  node = {'name': make} if isinstance(make, str) else dict(make)
  return Adapter(
    stops=tuple(stops),
    turn_tokens=turn_tokens,
    max_observation=max_observation,
    make=binding.bind(node, ('prompt',)),
    read_action=str.strip if read_action is None else binding.resolve(read_action),
    observation=tuple(observation),
    max_turns=max_turns,
  )


@dataclasses.dataclass(frozen=True)
class Adapter:
  """The environment that `gymnasium_style` makes."""

  stops: tuple[str, ...]
  turn_tokens: int
  max_observation: int
  make: Callable[[dict[str, Any]], Any]
  read_action: Callable[[str], Any]
  observation: tuple[str, str]
  max_turns: int

  def reset(self, prompt: Prompt, seed: int) -> AdaptedEpisode:
    env = self.make({'prompt': prompt})
    env.reset(seed=seed)
    return AdaptedEpisode(self, env)


class AdaptedEpisode:
  """One episode of somebody's environment."""

  def __init__(self, adapter: Adapter, env: Any):
    self._adapter, self._env = adapter, env
    self._total, self._info = 0.0, {}

  def step(self, turn: Turn) -> Reply:
    own = self._adapter
    last = turn.number + 1 >= own.max_turns or turn.truncated
    text = turn.text
    for stop in own.stops:
      text = text.removesuffix(stop)
    try:
      action = own.read_action(text)
    except ValueError as error:
      return self._reply(f'error: {error}', 0.0, last, {'errors': 1})
    seen, reward, terminated, truncated, self._info = self._env.step(action)
    self._total += float(reward)
    return self._reply(str(seen), float(reward), last or terminated or truncated, {})

  def _reply(self, text: str, reward: float, done: bool, counts: dict[str, float]) -> Reply:
    if done and (close := getattr(self._env, 'close', None)):
      close()
    before, behind = self._adapter.observation
    return Reply(f'{before}{text}{behind}', reward, done, counts)

  def outcome(self) -> dict[str, Any]:
    return {'return': self._total, 'info': dict(self._info)}


def verifiers_style(
  *,
  make: str | Mapping[str, Any],
  message: tuple[str, str] = ('\n<|im_start|>{role}\n', '<|im_end|>\n<|im_start|>assistant\n'),
  stops: tuple[str, ...] = ('<|im_end|>',),
  max_turns: int = 16,
  turn_tokens: int = 0,
  max_observation: int = 1024,
) -> MessageAdapter:
  """Episodes of an environment whose turns are chat messages.

  `env.env_response(messages, state) -> (messages, state)` and `env.is_completed(messages, state) ->
  bool`, each maybe a coroutine; one environment for all episodes, which may be used by several
  threads. `state` is a dict; 'reward' in it, where there is one, is the reward of the episode.
  Messages are written with marks of the policy's chat template and never through the template
  itself, so what was said keeps its ids.

  Args:
    make: dotted name or node of a function that gives the environment.
    message: what stands around the content of a message; {role} is who speaks. The last one ends
      so that the policy goes on.
    stops: texts that end a turn; the tokenizer's ends of text do besides.
    max_turns: an episode ends with the turn of this number.
    turn_tokens, max_observation: tokens.

  Raises:
    BindingError: there is no such function.

  Examples:
    >>> import sys, types
    >>> class Chat:
    ...   def env_response(self, messages, state):
    ...     return [{'role': 'user', 'content': 'Go on.'}], state
    ...   def is_completed(self, messages, state):
    ...     return len(messages) > 3
    >>> sys.modules['my_chat'] = types.SimpleNamespace(Chat=Chat)  # a module of yours
    >>> print(environments.verifiers_style(make='my_chat.Chat').stops)
    ('<|im_end|>',)

  Source: the interface of MultiTurnEnv in the package verifiers, as far as it is documented; not
  checked against a release.
  """
  node = {'name': make} if isinstance(make, str) else dict(make)
  return MessageAdapter(
    tuple(stops), turn_tokens, max_observation, binding.bind(node)({}), tuple(message), max_turns
  )


@dataclasses.dataclass(frozen=True)
class MessageAdapter:
  """The environment that `verifiers_style` makes."""

  stops: tuple[str, ...]
  turn_tokens: int
  max_observation: int
  env: Any
  message: tuple[str, str]
  max_turns: int

  def reset(self, prompt: Prompt, seed: int) -> MessageEpisode:
    return MessageEpisode(self, prompt, seed)


class MessageEpisode:
  """One chat with somebody's environment."""

  def __init__(self, adapter: MessageAdapter, prompt: Prompt, seed: int):
    self._adapter = adapter
    first = ({'role': 'user', 'content': prompt.text},)
    self._messages = [dict(m) for m in prompt.messages or first]
    self._state = {'answer': prompt.answer, 'info': dict(prompt.metadata), 'seed': seed, 'turn': 0}

  def step(self, turn: Turn) -> Reply:
    own, text = self._adapter, turn.text
    for stop in own.stops:
      text = text.removesuffix(stop)
    self._messages.append({'role': 'assistant', 'content': text})
    self._state['turn'] = turn.number + 1
    over = _now(own.env.is_completed(self._messages, self._state))
    if over or turn.truncated or turn.number + 1 >= own.max_turns:
      return Reply(reward=float(self._state.get('reward', 0.0)), done=True)
    answers, self._state = _now(own.env.env_response(self._messages, self._state))
    self._messages += answers
    before, behind = own.message
    return Reply(''.join(before.format(role=m['role']) + m['content'] for m in answers) + behind)

  def outcome(self) -> dict[str, Any]:
    return {'messages': self._messages, 'state': self._state}


def _now(found: Any) -> Any:
  """The value of what may be a coroutine."""
  return asyncio.run(found) if inspect.iscoroutine(found) else found
