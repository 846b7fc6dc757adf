"""Other people's environments: an object with `reset` and `step` in gymnasium's manner."""

from __future__ import annotations

import dataclasses
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
  """Episodes of an environment whose actions and observations are text, or can be read as such.

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
