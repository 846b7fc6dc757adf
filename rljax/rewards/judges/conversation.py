"""What a judge is asked and what it answers: records, text put in fences, readers of replies."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Conversation = Sequence[Mapping[str, str]]


_VERDICT = re.compile(r'^[^\w\n]*verdict[^\w\n]+(\w+)[^\w\n]*$', re.IGNORECASE | re.MULTILINE)
_MOST_CHARACTERS = 100_000
_MOST_BRACES = 1000  # that open no object: each is read to where it breaks off


class JudgeError(ValueError):
  """A judge gave no answer, or one that cannot be read."""


class Reply(NamedTuple):
  """What a model answered.

  Attributes:
    text: '' if there is none.
    error: why there is none, '' if there is.
    prompt_tokens, completion_tokens: as the server counts them; 0 if it does not, or from the
      cache.
    cost: of this request, in the unit of the prices.
    cached: True if nothing was sent.
  """

  text: str
  error: str = ''
  prompt_tokens: int = 0
  completion_tokens: int = 0
  cost: float = 0.0
  cached: bool = False


Generate = Callable[[Sequence[Conversation]], Sequence[Reply | str]]


def ask(generate: Generate, requests: Sequence[str]) -> list[Reply]:
  """The reply to each request, a user's message of its own.

  Raises:
    JudgeError: `generate` gave another number of replies, or something else.
  """
  if not requests:
    return []
  found = list(generate([({'role': 'user', 'content': text},) for text in requests]))
  if len(found) != len(requests):
    raise JudgeError(f'generate gave {len(found)} replies to {len(requests)} requests')
  replies = [Reply(reply) if isinstance(reply, str) else reply for reply in found]
  for reply in replies:
    if not isinstance(reply, Reply):
      raise JudgeError(f'generate gave {type(reply).__name__}, which is neither a text nor a Reply')
  return replies


def spent(replies: Sequence[Reply]) -> dict[str, float]:
  """Components that say what the replies cost."""
  return {
    'judge_tokens': sum(r.prompt_tokens + r.completion_tokens for r in replies),
    'judge_cost': math.fsum(r.cost for r in replies),
  }


def fenced(name: str, text: str) -> str:
  """The text between two marks that it does not contain, so that it cannot pretend to end."""
  mark = name
  while mark in text or mark == name:
    given = f'{mark}/{text}'.encode('utf-8', 'surrogatepass')
    mark = f'{name}-{hashlib.blake2b(given, digest_size=4).hexdigest()}'
  return f'[{mark}]\n{text}\n[/{mark}]'


def read_verdict(reply: Reply, choices: Sequence[str]) -> str:
  """The choice on the last line of the form `Verdict: <choice>`, in lower case.

  Raises:
    JudgeError: there is no such line, or no reply.
  """
  found = _VERDICT.findall(_text(reply))
  if not found or found[-1].lower() not in choices:
    said = f'Verdict: {found[-1][:20]}' if found else f'no verdict in {_end(reply)}'
    raise JudgeError(f'cannot read the judge: {said}; expected {" or ".join(choices)}')
  return found[-1].lower()


def read_object(reply: Reply) -> dict[str, Any]:
  """The last JSON object of a reply.

  Raises:
    JudgeError: there is none, or no reply; or it is too long, or mostly braces.
  """
  text, decoder, start = _text(reply), json.JSONDecoder(), 0
  found, broken = None, 0
  if len(text) > _MOST_CHARACTERS:
    raise JudgeError(f'cannot read the judge: {len(text)} characters, over {_MOST_CHARACTERS}')
  while broken <= _MOST_BRACES and (start := text.find('{', start)) >= 0:
    try:
      found, start = decoder.raw_decode(text, start)
    except (ValueError, RecursionError):
      start, broken = start + 1, broken + 1
  if broken > _MOST_BRACES:
    raise JudgeError(f'cannot read the judge: more than {_MOST_BRACES} braces that open no object')
  if found is None:
    raise JudgeError(f'cannot read the judge: no JSON object in {_end(reply)}')
  return found


def _text(reply: Reply) -> str:
  if reply.error:
    raise JudgeError(f'no reply of the judge: {reply.error}')
  return reply.text


def _end(reply: Reply) -> str:
  return repr(reply.text[-40:])
