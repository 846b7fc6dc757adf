"""The reward of calls of tools. Nothing that is read is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljax.rewards.structures import equal_json, gold_json, json_text, read_json, result


def tool_calls(
  completion: str, answer: Any, *, ordered: bool = True, tolerance: float = 0.0
) -> dict[str, float]:
  """1 if the completion makes the gold calls, each with its name and arguments.

  Calls stand in `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, as models of the Hermes and
  Qwen families write them; or all in one JSON value, an object or a list. `names` and `arguments`
  are the shares, of the longer of both lists, with the right name, and with the right name and
  arguments. A gold list without calls is met by a completion without calls.

  Args:
    completion: of the policy.
    answer: list of {'name': …, 'arguments': {…}}, or its JSON text.
    ordered: whether the order of the calls counts.
    tolerance: of numbers in arguments, relative, as a fraction.

  Raises:
    ValueError: the gold answer is no list of calls.

  Examples:
    >>> call = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
    >>> print(rewards.tool_calls(call, [{'name': 'add', 'arguments': {'a': 1, 'b': 3}}]))
    {'reward': 0.0, 'accuracy': 0.0, 'formatted': 1.0, 'names': 1.0, 'arguments': 0.0}
  """
  gold = _as_calls(gold_json(answer))
  if gold is None:
    raise ValueError(f'gold answer {answer!r}: needs calls with a name and arguments')
  given = _calls(completion)
  if given is None:
    return {**result(0.0, False), 'names': 0.0, 'arguments': 0.0}
  size = max(len(gold), len(given))
  names = _matches(gold, given, ordered, lambda g, x: g['name'] == x['name'])
  whole = _matches(gold, given, ordered, lambda g, x: equal_json(g, x, tolerance, False))
  accuracy = float(whole == size)
  shares = {'names': names / size if size else 1.0, 'arguments': whole / size if size else 1.0}
  return {**result(accuracy, True), **shares}


def _calls(completion: str) -> list[dict[str, Any]] | None:
  """The calls of a completion; None if they cannot be read."""
  pieces = completion.split('<tool_call>')[1:]
  if pieces:
    if not all('</tool_call>' in piece for piece in pieces):
      return None
    return _as_calls([read_json(piece.partition('</tool_call>')[0]) for piece in pieces])
  text = json_text(completion)
  return _as_calls(read_json(text)) if text else []


def _as_calls(value: Any) -> list[dict[str, Any]] | None:
  calls = [value] if isinstance(value, Mapping) else value
  if not isinstance(calls, list | tuple):
    return None
  for call in calls:
    if not isinstance(call, Mapping) or set(call) - {'name', 'arguments', 'id'}:
      return None
    if not isinstance(call.get('name'), str) or not isinstance(call.get('arguments', {}), Mapping):
      return None
  return [{'name': call['name'], 'arguments': call.get('arguments', {})} for call in calls]


def _matches(gold: list, given: list, ordered: bool, same: Any) -> int:
  if ordered:
    return sum(same(g, x) for g, x in zip(gold, given))
  left = list(given)
  count = 0
  for one in gold:
    place = next((i for i, other in enumerate(left) if same(one, other)), None)
    if place is not None:
      del left[place]
      count += 1
  return count
