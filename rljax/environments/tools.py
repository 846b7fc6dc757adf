"""Tools: the policy calls one, hears its result, and goes on until it ends without a call."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from rljax import binding
from rljax.environments.protocol import Reply, Turn
from rljax.prompts import Prompt

TOOL_GETS = ('arguments', 'prompt')


class ToolError(ValueError):
  """A call that a tool refuses; the policy hears the message."""



def tools(
  *,
  tools: Mapping[str, Any] | tuple[str, ...] | str = ('calculator',),
  call: tuple[str, str] = ('<tool_call>', '</tool_call>'),
  result: tuple[str, str] = ('<tool_result>', '</tool_result>'),
  error: str = 'error: {}',
  max_turns: int = 8,
  max_calls: int = 8,
  turn_tokens: int = 0,
  max_observation: int = 256,
) -> Tools:
  """An environment of tools.

  A turn that ends with a call is answered by the tool's result; one without is the last. A call is
  `{"name": …, "arguments": …}` or `name: arguments`; where there is one tool, its arguments alone
  will do. A call that cannot be read, names no tool or is refused is answered by an error.

  Args:
    tools: names of `environments.<name>`, or name → config node of a function that takes
      `arguments` (text or what JSON holds) and maybe `prompt`, and returns text.
    call: what a call begins and ends with; the end ends the turn.
    result: what stands around a result.
    error: what is heard of an error; {} is the message.
    max_turns: an episode ends with the turn of this number.
    max_calls: calls that are answered; further ones hear that none are left.
    turn_tokens: tokens of one turn; 0 = no limit of its own.
    max_observation: tokens of one observation.

  Raises:
    BindingError: a tool that does not exist; names it.
    ValueError: a mark of a call is empty.

  Examples:
    >>> from rljax.environments import Turn
    >>> from rljax.prompts import Prompt
    >>> episode = environments.tools().reset(Prompt(text='', prompt_id=0), seed=0)
    >>> print(episode.step(Turn((), '<tool_call>6 * 7</tool_call>', False, 0)).observation)
    <tool_result>42</tool_result>
    >>> # Without a call a turn is the last
    >>> print(episode.step(Turn((), 'It is 42.', False, 1)).done)
    True
  """
  if not all(call):
    raise ValueError(f'tools: the marks of a call, {call}, must not be empty')
  tools = (tools,) if isinstance(tools, str) else tools
  nodes = tools if isinstance(tools, Mapping) else {name: f'environments.{name}' for name in tools}
  bound = {}
  for name, node in nodes.items():
    node = {'name': node} if isinstance(node, str) else dict(node)
    bound[name] = binding.bind(node, TOOL_GETS)
  return Tools(
    bound, tuple(call), tuple(result), error, max_turns, max_calls, turn_tokens, max_observation
  )


@dataclasses.dataclass(frozen=True)
class Tools:
  """The environment that `tools` makes."""

  tools: Mapping[str, Callable[[dict[str, Any]], str]]
  call: tuple[str, str]
  result: tuple[str, str]
  error: str
  max_turns: int
  max_calls: int
  turn_tokens: int
  max_observation: int

  @property
  def stops(self) -> tuple[str, ...]:
    return (self.call[1],)

  def reset(self, prompt: Prompt, seed: int) -> ToolEpisode:
    del seed  # tools draw nothing
    return ToolEpisode(self, prompt)


class ToolEpisode:
  """One conversation with tools."""

  def __init__(self, environment: Tools, prompt: Prompt):
    self._environment, self._prompt = environment, prompt
    self._calls = 0

  def step(self, turn: Turn) -> Reply:
    """The result of the call with which the turn ends; done where there is none."""
    own = self._environment
    content = between(turn.text, *own.call)
    if turn.truncated or content is None:
      unfinished = own.call[0] in turn.text and content is None
      return Reply(done=True, counts={'unfinished': 1} if unfinished else {})
    counts = {'calls': 1}
    self._calls += 1
    try:
      if self._calls > own.max_calls:
        counts['refused'] = 1
        raise ToolError('no calls are left')
      name, arguments = self._read(content)
      counts[f'calls_{name}'] = 1
      text = own.tools[name]({'arguments': arguments, 'prompt': self._prompt})
    except ToolError as message:
      counts['errors'] = 1
      text = own.error.replace('{}', str(message))
    return Reply(
      observation=f'{own.result[0]}{text}{own.result[1]}',
      done=turn.number + 1 >= own.max_turns,
      counts=counts,
    )

  def outcome(self) -> dict[str, Any]:
    return {'calls': self._calls}

  def _read(self, content: str) -> tuple[str, Any]:
    """(tool, arguments) of a call."""
    names = list(self._environment.tools)
    text = content.strip()
    if text.startswith('{'):
      try:
        read = json.loads(text)
        name, arguments = read['name'], read.get('arguments', '')
      except (ValueError, KeyError, RecursionError):
        raise ToolError('a call is {"name": …, "arguments": …}') from None
    else:
      name, mark, arguments = (part.strip() for part in text.partition(':'))
      if len(names) == 1 and not (mark and name == names[0]):
        name, arguments = names[0], text
    if name not in names:
      raise ToolError(f'there is no tool {str(name)[:40]!r}; there is {", ".join(names)}')
    return name, arguments


def between(text: str, begin: str, end: str) -> str | None:
  """What the text ends with between its last `begin` and `end`; None if it does not end so."""
  text = text.rstrip()
  start = text.rfind(begin, 0, len(text) - len(end))
  if start < 0 or not text.endswith(end):
    return None
  return text[start + len(begin) : len(text) - len(end)]
