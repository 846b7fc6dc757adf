"""How the work of readers of strangers' text grows with its length.

Every reader of completions and judges' replies is given texts that repeat one or two pieces, n, 2n
and 4n characters long. What is counted is CPU seconds for all of them; linear work grows fourfold,
quadratic sixteenfold. Times below a tenth of a second say nothing and are not judged.

Command, from the root of the repository:

  python -m experiments.reliability.growth --out=experiments/reliability/growth.csv
"""

from __future__ import annotations

import csv
import itertools
import random
import time
from collections.abc import Callable
from typing import Any

from absl import app, flags

from rljax import files
from rljax.environments.tools import between
from rljax.rewards import (
  answers,
  constraint_kinds,
  documents,
  fences,
  layout,
  matching,
  programs,
  similarity,
  structures,
  style,
  units,
)
from rljax.rewards.grading import equality, notation, values
from rljax.rewards.judges import conversation
from rljax.rewards.short_answer import short_answer
from rljax.rewards.tool_calls import tool_calls

LENGTH = flags.DEFINE_integer('length', 20_000, 'n, characters of the shortest text.')
PAIRS = flags.DEFINE_integer('pairs', 4, 'Pieces that each piece is paired with.')
OUT = flags.DEFINE_string('out', 'experiments/reliability/growth.csv', 'The table.')

LIMIT = 8.0  # between linear (4) and quadratic (16)
JUDGED_SECONDS = 0.1
PIECES = (
  '\\boxed{', '}', '{', '(', ')', '[', ']', '<answer>', '</answer>', '<think>', '</think>', '####',
  '```', '```json\n', '\n', ' ', '1', '-1', '1,000', '3/4', '\\frac{1}{2}', '\\sqrt', '^', '_', '$',
  '\\(', '\\)', '%', 'km', 'the answer is ', 'answer is\n', '"', "'", ':', ',', '<tool_call>',
  '</tool_call>', '{"name":', '{"a":', '[1,', 'é', '٣', '\x00', '𝟙', 'and ', '=', 'x', '\\text{',
  '\\left', '\\right', '|', '&', '\\\\', ';', '[1]>[2]', 'verdict', 'Verdict: yes\n', '. ', 'A. ',
)  # fmt: skip


def _reply(read: Callable[..., Any], *args: Any) -> Callable[[str], Any]:
  return lambda text: read(conversation.Reply(text), *args)


READERS: dict[str, Callable[[str], Any]] = {
  'answers.extract': answers.extract,
  'answers.extract_unmarked': lambda s: answers.extract_unmarked(s, 'number'),
  'answers.extract_number': answers.extract_number,
  'answers.parse_number': answers.parse_number,
  'answers.boxed': answers.boxed,
  'short_answer': lambda s: short_answer(s, '1/2', symbolic=False),
  'equality.compare': lambda s: equality.compare('1/2', s, use_symbolic=False),
  'values.read': values.read,
  'values.read, a set': lambda s: values.read(s, 'set'),
  'notation.plain': notation.plain,
  'notation.latex': notation.latex,
  'structures.choice': lambda s: structures.choice(s, 'B'),
  'structures.answer_set': lambda s: structures.answer_set(s, '{1,2}', symbolic=False),
  'structures.json_value': lambda s: structures.json_value(s, {'a': 1}),
  'tool_calls': lambda s: tool_calls(s, [{'name': 'a', 'arguments': {}}]),
  'documents.permutation': lambda s: documents.permutation(s, {'1': 1.0, '2': 2.0}),
  'documents.numbers': documents.numbers,
  'fences.fenced_block': lambda s: fences.fenced_block(s, ('python',)),
  'layout.think_answer': layout.think_answer,
  'matching.exact': lambda s: matching.exact(s, 'a b'),
  'programs.extract_code': programs.extract_code,
  'similarity.token_f1': lambda s: similarity.token_f1(s, 'a b c'),
  'style.repetition': style.repetition,
  'style.script_share': style.script_share,
  'units.sentences': units.sentences,
  'units.paragraphs': units.paragraphs,
  'constraint_kinds.highlights': lambda s: constraint_kinds.highlights(s, 1),
  'constraint_kinds.sections': lambda s: constraint_kinds.sections(s, 1),
  'constraint_kinds.is_json': constraint_kinds.is_json,
  'tools.between': lambda s: between(s, '<tool_call>', '</tool_call>'),
  'judges.read_verdict': _reply(conversation.read_verdict, ('yes', 'no')),
  'judges.read_object': _reply(conversation.read_object),
}


def texts(length: int, pairs: int) -> list[str]:
  """Texts of about `length` characters that repeat one or two pieces."""
  chance = random.Random(0)
  parts = [(piece,) for piece in PIECES]
  parts += [(one, two) for one in PIECES for two in chance.sample(PIECES, pairs)]
  return [''.join(part) * max(1, length // len(''.join(part))) for part in parts]


def seconds(read: Callable[[str], Any], given: list[str]) -> tuple[float, str]:
  """(CPU seconds for all texts, the errors that are not `ValueError`s)."""
  strange = set()
  begun = time.process_time()
  for text in given:
    try:
      read(text)
    except ValueError:  # what is documented: Refused, JudgeError
      pass
    except Exception as error:
      strange.add(f'{type(error).__name__} at {text[:20]!r}')
  return time.process_time() - begun, '; '.join(sorted(strange)[:3])


def main(argv: list[str]) -> None:
  del argv
  sizes = [LENGTH.value * factor for factor in (1, 2, 4)]
  given = {size: texts(size, PAIRS.value) for size in sizes}
  rows, bad = [], 0
  for name, read in READERS.items():
    found = [seconds(read, given[size]) for size in sizes]
    ratio = found[2][0] / max(found[0][0], 1e-9)
    judged = found[2][0] > JUDGED_SECONDS
    errors = '; '.join(sorted({error for _, error in found if error}))
    verdict = 'quadratic?' if judged and ratio > LIMIT else 'error' if errors else 'linear'
    bad += verdict != 'linear'
    rows.append((name, *(f'{s:.3f}' for s, _ in found), f'{ratio:.1f}', verdict, errors))
    print(*rows[-1], flush=True)
  head = ('reader', *(f'seconds at {size}' for size in sizes), 'growth', 'verdict', 'errors')
  _write(OUT.value, list(itertools.chain([head], rows)))
  print(f'{len(rows)} readers, {len(given[sizes[0]])} texts each; {bad} not linear')


def _write(path: str, rows: list[tuple]) -> None:
  with files.atomic(path) as temporary, open(temporary, 'w', newline='') as file:
    csv.writer(file, lineterminator='\n').writerows(rows)


if __name__ == '__main__':
  app.run(main)
