"""Who else answers prompts: demonstrations of the task, records of a file, any function.

A source is `source(prompts, draw_ids) -> [completion or None, …]`. Here stand the functions that
make one, which the nodes of `sources` in a stage name; `stages.teachers` has a saved policy. They
take by name: `demonstrate` of the task, the stage's `generate` and the `mesh`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rljax import binding
from rljax.data.jsonl import JsonLines
from rljax.prompts import Prompt

Source = Callable[[Sequence[Prompt], Sequence[int]], Sequence[str | None]]


def demonstrations(demonstrate: Callable[[Prompt], str] | None) -> Source:
  """The demonstrations of the task.

  Args:
    demonstrate: of the task.

  Raises:
    ValueError: the task has none, or (later) one with parts that are heard.
  """
  if demonstrate is None:
    raise ValueError('sources.demonstrations: the task has no demonstrations')
  return _of(demonstrate, 'a demonstration')


def rewritten(
  demonstrate: Callable[[Prompt], str] | None, *, rewrite: str | Callable[[str], str]
) -> Source:
  """The demonstrations of the task in the style of somebody else.

  Args:
    demonstrate: of the task.
    rewrite: `rewrite(demonstration) -> completion`, or its dotted name.

  Raises:
    ValueError: as in `demonstrations`.
  """
  plain = demonstrations(demonstrate)
  change = binding.resolve(rewrite) if isinstance(rewrite, str) else rewrite
  return lambda prompts, draw_ids: [change(text) for text in plain(prompts, draw_ids)]


def function(*, function: str | Callable[[Prompt], str | None]) -> Source:
  """Completions by a function of the prompt.

  Args:
    function: `function(prompt) -> completion`, or its dotted name; None where it has none.
  """
  named = isinstance(function, str)
  return _of(binding.resolve(function) if named else function, f'what {function} returned')


def _of(answer: Callable[[Prompt], str | None], what: str) -> Source:
  def source(prompts, draw_ids):
    del draw_ids
    found = [answer(prompt) for prompt in prompts]
    for prompt, text in zip(prompts, found):
      if not isinstance(text, str | None):
        raise ValueError(f'sources: {what} for prompt {prompt.prompt_id} is no text: {text!r}')
    return found

  return source


def records(*, path: str, prompt: str = 'prompt', completion: str = 'completion') -> Source:
  """The completions of a file; several of one prompt come up in turn.

  Args:
    path: of a .jsonl or .jsonl.gz file.
    prompt: key of the prompt's text in a record.
    completion: key of the completion, a text.

  Raises:
    FileNotFoundError, ValueError: there is no such file, or a record lacks a key; names the line.
  """
  known: dict[str, list[str]] = {}
  for number, record in enumerate(JsonLines(path), 1):
    for key in (prompt, completion):
      if not isinstance(record.get(key), str):
        raise ValueError(f'sources.records: {path}, record {number}: {key!r} is no text')
    known.setdefault(record[prompt], []).append(record[completion])

  def source(prompts, draw_ids):
    found = [known.get(p.text) for p in prompts]
    return [some[int(draw) % len(some)] if some else None for some, draw in zip(found, draw_ids)]

  return source
