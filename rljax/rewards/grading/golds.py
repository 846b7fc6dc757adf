"""Gold answers: what a prompt says is right, and what it is."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from rljax.rewards.grading import notation, values
from rljax.rewards.grading.terms import Refused
from rljax.rewards.grading.values import Value


class Gold(NamedTuple):
  """A gold answer.

  Attributes:
    text: of the answer.
    kind: of `values.KINDS`; '' = as it looks.
    tolerance: of numbers, relative, as a fraction; 0 = exact.
    precision: of numbers, absolute; what is within either is equal.
    options: letter → text, of choices.
  """

  text: str
  kind: str = ''
  tolerance: float = 0.0
  precision: float = 0.0
  options: tuple[tuple[str, str], ...] = ()


def as_gold(answer: Any) -> Gold:
  """The gold answer in `Prompt.answer`: its text, or a dict that also says what it is.

  Args:
    answer: text or number; or {'value': …, 'kind': …, 'tolerance': …, 'precision': …,
      'options': {letter: text}} of which only 'value' is needed.

  Raises:
    ValueError: it is empty, or says what does not exist.
  """
  fields = dict(answer) if isinstance(answer, Mapping) else {'value': answer}
  unknown = set(fields) - {*Gold._fields[1:], 'value'}
  kind, text = fields.get('kind', ''), str(fields.get('value', '')).strip()
  if unknown or not text or fields.get('value') is None:
    raise ValueError(
      f'gold answer {answer!r}: needs a text, or a dict with value and, where wanted, '
      f'{", ".join(Gold._fields[1:])}'
    )
  if kind and kind not in values.KINDS:
    raise ValueError(f'gold answer {answer!r}: kind {kind!r}; known are {sorted(values.KINDS)}')
  options = tuple(dict(fields.get('options') or {}).items())
  near = (float(fields.get(name, 0.0)) for name in ('tolerance', 'precision'))
  return Gold(text, kind, *near, options)


def kind_of(answer: Any) -> str:
  """What a gold answer is, said or read: of `values.KINDS`, or 'formula'."""
  gold = as_gold(answer)
  value = read(gold.text, gold.kind)
  return gold.kind or value.kind


@functools.lru_cache(maxsize=4096)
def read(text: str, kind: str) -> Value:
  """What the text of a gold answer says.

  Raises:
    ValueError: it is not of the kind that it is said to be.
  """
  plain = notation.plain(text)
  try:
    value = values.read(plain, kind)
  except Refused:
    value = Value('formula', plain)
  expected = {'number': ('number', 'expression', 'formula')}.get(kind, (kind, 'formula'))
  if kind in ('choice', 'matrix', 'sequence', 'equation', 'set', 'number') and (
    value.kind not in expected
  ):
    raise ValueError(f'gold answer {text!r} is said to be a {kind}, and reads as {value.kind}')
  return value
