"""Fenced blocks (between lines of ```) in a completion."""

from __future__ import annotations

from collections.abc import Sequence


def fenced_block(completion: str, languages: Sequence[str]) -> str:
  """The code in a completion.

  The first of these that there is; of several of one kind the last:
    1. a fenced block that says one of `languages` (in lower case);
    2. a fenced block that says another language or none;
    3. what stands behind a fence that is never closed;
    4. the whole completion.
  """
  blocks: list[tuple[str, str]] = []
  language, lines = '', None
  for line in completion.split('\n'):
    mark = line.strip()
    if lines is None:
      if mark.startswith('```'):
        language, lines = mark.strip('`').strip().lower(), []
    elif mark == '```':
      blocks.append((language, '\n'.join(lines)))
      lines = None
    else:
      lines.append(line)
  if blocks:
    return ([code for language, code in blocks if language in languages] or [blocks[-1][1]])[-1]
  return completion if lines is None else '\n'.join(lines)
