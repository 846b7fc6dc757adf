"""Rewards of structured answers: choices, sets, lists and JSON.

All return a dict: `reward` and `accuracy` are 1 if the whole is right, `formatted` is 1 if it can
be read; the other components say how much of it is right. Nothing that is read is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rljax.rewards import answers
from rljax.rewards.grading import golds, notation, values
from rljax.rewards.grading.equality import compare
from rljax.rewards.grading.terms import Refused
from rljax.rewards.short_answer import short_answer

MAX_JSON = 100_000  # characters
_FENCE = re.compile(r'```(?:json|JSON)?[^\S\n]*\n')
_NOTHING = object()


def choice(completion: str, answer: Any) -> dict[str, float]:
  """1 if the marked answer is the letter of the right option, or its text.

  Args:
    completion: of the policy.
    answer: the letter; or {'value': letter, 'options': {letter: text}}.

  Examples:
    >>> options = {'value': 'B', 'options': {'A': 'red', 'B': 'blue'}}
    >>> print(rewards.choice('The answer is B.', options)['reward'])
    1.0
  """
  return short_answer(completion, _as_kind(answer, 'choice'), symbolic=False)


def answer_set(completion: str, answer: Any, *, symbolic: bool = True) -> dict[str, float]:
  """1 if the marked answer has the elements of the gold set, in any order and however often.

  `precision` is the share of its elements that are right, `recall` the share of right ones that it
  has.

  Args:
    completion: of the policy.
    answer: `{1, 2}`, `1, 2` or a list of texts and numbers.
    symbolic: whether math-verify may be asked.

  Examples:
    >>> print(rewards.answer_set('The answer is 3, 1.', '{1, 2, 3}'))
    {'reward': 0.0, 'accuracy': 0.0, 'formatted': 1.0, 'precision': 1.0, 'recall': 0.6667}
  """
  gold, given = _elements(completion, answer, 'set')
  hits = [any(_same(g, x, symbolic) for g in gold) for x in given]
  found = [any(_same(g, x, symbolic) for x in given) for g in gold]
  precision, recall = _share(hits, len(given)), _share(found, len(gold))
  accuracy = float(precision == recall == 1)
  return {**result(accuracy, bool(given)), 'precision': precision, 'recall': recall}


def answer_list(completion: str, answer: Any, *, symbolic: bool = True) -> dict[str, float]:
  r"""1 if the marked answer is the gold list, in its order.

  `in_place` is the share of places, of the longer of both lists, with the right element.

  Args:
    completion: of the policy.
    answer: `1, 2`, `[1, 2]` or a list of texts and numbers.
    symbolic: whether math-verify may be asked.

  Examples:
    >>> print(rewards.answer_list('\\boxed{[1, 2, 4]}', [1, 2, 3]))
    {'reward': 0.0, 'accuracy': 0.0, 'formatted': 1.0, 'in_place': 0.6667}
  """
  gold, given = _elements(completion, answer, 'list')
  hits = [_same(g, x, symbolic) for g, x in zip(gold, given)]
  in_place = _share(hits, max(len(gold), len(given)))
  return {**result(float(in_place == 1), bool(given)), 'in_place': in_place}


def json_value(
  completion: str, answer: Any, *, tolerance: float = 0.0, may_add_keys: bool = False
) -> dict[str, float]:
  """1 if the completion gives the gold JSON value.

  The value is the last block fenced by ```` ``` ````, else what stands in `<answer>`, else what
  reaches from the first bracket to the last. Keys may come in any order, lists keep theirs; 1 and
  1.0 are equal, 1 and true are not. `leaves` is the share of gold leaves that are right.

  Args:
    completion: of the policy.
    answer: a JSON value, or its text.
    tolerance: of numbers, relative, as a fraction.
    may_add_keys: whether objects may have keys that the gold objects lack.

  Raises:
    ValueError: the gold answer is no JSON.

  Examples:
    >>> print(rewards.json_value('```{"a": 1, "b": [2, 3]}```', {'b': [2, 4], 'a': 1.0}))
    {'reward': 0.0, 'accuracy': 0.0, 'formatted': 1.0, 'leaves': 0.6667}
  """
  gold = gold_json(answer)
  given = read_json(json_text(completion))
  right, total = _leaves(gold, given, tolerance)
  accuracy = float(equal_json(gold, given, tolerance, may_add_keys))
  return {**result(accuracy, given is not _NOTHING), 'leaves': right / max(total, 1)}


# -- sets and lists


def _as_kind(answer: Any, kind: str) -> dict[str, Any]:
  fields = dict(answer) if isinstance(answer, Mapping) else {'value': answer}
  return {**fields, 'kind': kind}


def _elements(completion: str, answer: Any, kind: str) -> tuple[list[str], list[str]]:
  if isinstance(answer, Sequence) and not isinstance(answer, str):
    gold = [str(element) for element in answer]
  else:
    gold = _split(golds.as_gold(answer).text, kind)
  if not gold:
    raise ValueError(f'gold answer {answer!r}: needs elements')
  marked = answers.extract(completion)
  return gold, _split(marked.text, kind) if marked else []


def _split(text: str, kind: str) -> list[str]:
  text = notation.plain(text)
  if kind == 'set' and text[:1] == '{' and text.find('}') == len(text) - 1:
    text = text[1:-1]
  try:
    value = values.read(text, kind)
  except Refused:
    return [text]
  return [notation.latex(part.text) for part in value.parts] if value.kind == kind else [text]


def _same(gold: str, given: str, symbolic: bool) -> bool:
  return compare(gold, given, use_symbolic=symbolic).equal


def _share(hits: list[bool], size: int) -> float:
  return sum(hits) / size if size else 0.0


def result(accuracy: float, formatted: bool) -> dict[str, float]:
  """The components that all of these rewards have."""
  return {'reward': accuracy, 'accuracy': accuracy, 'formatted': float(formatted)}


# -- JSON


def json_text(completion: str) -> str:
  """What of a completion is JSON: the last fenced block, `<answer>`, or from a bracket on."""
  pieces = _FENCE.split(completion)
  if len(pieces) > 1 and '```' in pieces[-1]:
    return pieces[-1].partition('```')[0]
  if (marked := answers.extract(completion)) and marked.marker == 'tag':
    return marked.text
  starts = [place for place in map(completion.find, '{[') if place >= 0]
  return completion[min(starts) : max(map(completion.rfind, '}]')) + 1] if starts else ''


def read_json(text: str) -> Any:
  """The value of a JSON text; `_NOTHING` where it is none, or too long."""
  if not text.strip() or len(text) > MAX_JSON:
    return _NOTHING
  try:
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_without_twins)
  except (ValueError, RecursionError):  # a number of very many digits is a ValueError, too
    return _NOTHING


def _refuse(name: str) -> None:
  raise ValueError(f'{name} is no JSON')


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  if len(dict(pairs)) < len(pairs):
    raise ValueError('a key twice')
  return dict(pairs)


def gold_json(answer: Any) -> Any:
  """The value of a gold answer, which may be text; ValueError where it is no JSON."""
  value = read_json(answer) if isinstance(answer, str) else answer
  if value is _NOTHING:
    raise ValueError(f'gold answer {answer!r}: no JSON')
  return value


def equal_json(gold: Any, given: Any, tolerance: float, may_add_keys: bool) -> bool:
  """Whether a value is the gold one; keys in any order."""
  if isinstance(gold, Mapping):
    return (
      isinstance(given, Mapping)
      and gold.keys() <= given.keys()
      and (may_add_keys or len(gold) == len(given))
      and all(equal_json(gold[key], given[key], tolerance, may_add_keys) for key in gold)
    )
  if isinstance(gold, list | tuple):
    return (
      isinstance(given, list | tuple)
      and len(gold) == len(given)
      and all(equal_json(g, x, tolerance, may_add_keys) for g, x in zip(gold, given))
    )
  return _equal_leaf(gold, given, tolerance)


def _equal_leaf(gold: Any, given: Any, tolerance: float) -> bool:
  if _is_number(gold) and _is_number(given):
    return gold == given or (tolerance > 0 and abs(gold - given) <= tolerance * abs(gold))
  return type(gold) is type(given) and gold == given


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


def _leaves(gold: Any, given: Any, tolerance: float) -> tuple[int, int]:
  """(leaves of `gold` that `given` has in the same place, leaves of `gold`)."""
  if isinstance(gold, Mapping) and gold:
    other = given if isinstance(given, Mapping) else {}
    pairs = [(gold[key], other.get(key, _NOTHING)) for key in gold]
  elif isinstance(gold, list | tuple) and gold:
    other = list(given) if isinstance(given, list | tuple) else []
    pairs = list(zip(gold, other + [_NOTHING] * len(gold)))
  else:
    return int(equal_json(gold, given, tolerance, False)), 1
  counts = [_leaves(one, two, tolerance) for one, two in pairs]
  return sum(right for right, _ in counts), sum(total for _, total in counts)
