"""Writes a text that follows given constraints, or finds that it cannot."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rljax.rewards import constraints as checks
from rljax.tasks.procedural import Draw

SUBJECTS = (
  'garden', 'river', 'market', 'train', 'winter', 'library', 'kitchen', 'mountain', 'harbour',
  'school', 'forest', 'bridge', 'village', 'island', 'theatre', 'workshop',
)
WORDS = (
  'apple', 'bird', 'bread', 'candle', 'cloud', 'door', 'fish', 'glass', 'horse', 'lamp', 'letter',
  'mirror', 'music', 'paper', 'rain', 'ring', 'salt', 'silver', 'stone', 'thread', 'tree', 'wheel',
)
"""Words that constraints ask for or forbid; no sentence has one of its own."""

_SENTENCES = (
  'The {subject} is quiet today.',
  'Nobody knows how old the {subject} is.',
  'We often come here with our friends.',
  'It was built for all of us.',
  'Some people find it too small.',
  'My family has always loved it.',
  'You should visit the {subject} at noon.',
  'Many good things begin at the {subject}.',
)
_LONGEST = 24  # sentences; a text that is not right by then never will be


def write(subject: str, asked: Sequence[Mapping[str, Any]]) -> str | None:
  """A text about the subject that follows the constraints; None if this writer knows none.

  Two sentences besides what must appear, fewer where that is too much, more until it is enough.

  Args:
    subject: a noun.
    asked: constraints, each kind at most once.
  """
  wanted = {constraint['kind']: constraint for constraint in asked}
  draw = Draw('constrained_writing', subject, json.dumps(asked, sort_keys=True))
  order = draw.shuffled(_SENTENCES)
  for count in (2, 1, 0, *range(3, _LONGEST + 1)):
    plain = [order[i % len(order)].format(subject=subject) for i in range(count)]
    text = _text(subject, wanted, plain)
    if all(checks.is_followed(text, constraint) for constraint in asked):
      return text
  return None


def _text(subject: str, wanted: Mapping[str, Mapping[str, Any]], plain: list[str]) -> str:
  body = _body(subject, wanted, plain)
  if 'two_responses' in wanted:
    body = f'{body}\n******\n{_body(subject, wanted, [*plain, "Now it is closed."])}'
  if 'ends_with' in wanted:
    body = f'{body} {wanted["ends_with"]["phrase"]}'
  if 'json' in wanted:
    body = json.dumps({'text': body}, ensure_ascii=False)
  if 'upper' in wanted:
    body = body.upper()
  if 'lower' in wanted:
    body = body.lower()
  return f'"{body}"' if 'quoted' in wanted else body


def _body(subject: str, wanted: Mapping[str, Mapping[str, Any]], plain: list[str]) -> str:
  sentences = [*_required(wanted), *plain] or [f'The {subject}.']
  if 'starts_with' in wanted:
    sentences[0] = f'{wanted["starts_with"]["phrase"]}: {sentences[0]}'
  number = max(_number(wanted, 'paragraphs'), 1)
  cuts = [len(sentences) * i // number for i in range(number + 1)]
  paragraphs = [' '.join(sentences[a:b]) for a, b in itertools.pairwise(cuts)]
  # What stands on lines of its own belongs to a paragraph, so that their number stays.
  marks = [f'Part {i + 1}' for i in range(_number(wanted, 'sections'))]
  if 'title' in wanted:
    marks.insert(0, f'<<About the {subject}>>')
  if marks and 'starts_with' in wanted:
    paragraphs[0] = '\n'.join([paragraphs[0], *marks])
  elif marks:
    paragraphs[0] = '\n'.join([*marks, paragraphs[0]])
  below = [f'* Point {letter}' for letter in 'ABCDEFGHIJKLMNOPQRSTUVWXYZ']
  below = below[: _number(wanted, 'bullets')]
  if 'postscript' in wanted:
    below.append(f'{wanted["postscript"]["marker"]} Come soon.')
  paragraphs[-1] = '\n'.join([paragraphs[-1], *below])
  return '\n\n'.join(paragraphs)


def _required(wanted: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """Sentences that hold what must appear."""
  found = [f'There is a {word}.' for word in wanted.get('keywords', {}).get('keywords', ())]
  if 'keyword_count' in wanted:
    word, number = wanted['keyword_count']['keyword'], wanted['keyword_count']['number']
    missing = number - sum(f' {word}.' in sentence for sentence in found)
    found += [f'Another {word}.'] * missing
  if 'letter_count' in wanted:
    found.append(f'{wanted["letter_count"]["letter"] * wanted["letter_count"]["number"]}.')
  found += ['VERY big.'] * _number(wanted, 'capital_words')
  found += ['Write to [name].'] * _number(wanted, 'placeholders')
  found += ['It is *great*.'] * _number(wanted, 'highlights')
  return found


def _number(wanted: Mapping[str, Mapping[str, Any]], kind: str) -> int:
  return wanted[kind]['number'] if kind in wanted else 0
