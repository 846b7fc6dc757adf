"""How published problems with short answers are written in their files: one table of formats.

| name          | problems                      | its format here                       |
|---------------|-------------------------------|---------------------------------------|
| math500       | competition mathematics       | checked, 500 records                  |
| math          | the same, 7,500 + 5,000       | not checked against the original file |
| aime          | American Invitational         | checked, 30 records of 2024           |
| amc           | American competitions         | checked, 40 records of 2023           |
| minerva       | university courses            | not checked against the original file |
| olympiadbench | olympiads                     | not checked against the original file |
| svamp         | word problems, grade 4        | checked, 1,000 records as JSON lines  |
| asdiv         | word problems, grades 1-6     | checked as JSON lines; its XML is not |
| mawps         | word problems                 | not checked against the original file |
| aqua          | algebra, five options         | not checked against the original file |
| gpqa          | science, four options         | not checked against the original file |
| mmlu          | 57 subjects, four options     | not checked against the original file |

A format that is not checked is the one that its authors, or those who publish it again, describe.
Licences are those that the publishers state, as far as they are known here; who uses the data looks
there again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from rljax.rewards import answers
from rljax.tasks import procedural
from rljax.tasks.record_files import Record

_RAW = 'https://raw.githubusercontent.com'
_OPTION = re.compile(r'\s*\(?([A-J])\s*\)\s*(.*)', re.DOTALL)
_UNBRACED = re.compile(r'\\boxed\s+([0-9A-Za-z]+)')


class DataSet(NamedTuple):
  """How one data set is read.

  Attributes:
    read: record → (question, gold answer).
    files: patterns of its files in a folder, of which the first that fits counts, by split.
    url: where it is published.
    license: as the publisher states it.
    symbolic: whether answers are formulas, which may need math-verify.
    choice: whether options are listed.
  """

  read: Callable[[Record], tuple[str, Any]]
  files: dict[str, tuple[str, ...]]
  url: str
  license: str
  symbolic: bool = False
  choice: bool = False


# -- readers of records


def _field(record: Record, *names: str) -> Any:
  """The first of these fields that there is."""
  for name in names:
    if record.get(name) is not None:
      return record[name]
  raise KeyError(' or '.join(names))


def _text(value: Any) -> str:
  """A number without the '.0' that a float brings along."""
  return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _number(value: Any) -> dict[str, Any]:
  return {'value': _text(value), 'kind': 'number'}


def _numbered(record: Record) -> tuple[str, Any]:
  return _field(record, 'problem', 'question'), _number(_field(record, 'answer'))


def _worked(record: Record) -> tuple[str, Any]:
  """The answer has a field, or is boxed in the solution."""
  question = _field(record, 'problem', 'question')
  if record.get('answer') is not None:
    return question, _text(record['answer'])
  solution = _field(record, 'solution')
  unbraced = _UNBRACED.findall(solution)
  answer = answers.boxed(solution) or (unbraced[-1] if unbraced else '')
  if not answer:
    raise ValueError('no \\boxed{} in its solution')
  return question, answer


def _course(record: Record) -> tuple[str, Any]:
  question, answer = _worked(record)
  # Numbers are compared to 1 %; recalled, not confirmed against the paper.
  return question, {'value': answer, 'tolerance': 0.01}


def _olympiad(record: Record) -> tuple[str, Any]:
  given = _field(record, 'final_answer')
  pieces = [piece.strip().strip('$') for piece in ([given] if isinstance(given, str) else given)]
  errors = [float(e) for e in re.findall(r'[0-9.]+(?:e-?[0-9]+)?', str(record.get('error') or ''))]
  context = f'{record["context"]}\n' if record.get('context') else ''
  answer = {'value': ', '.join(pieces), 'precision': min(errors, default=0.0)}
  return context + _field(record, 'question'), answer


def _worded(record: Record) -> tuple[str, Any]:
  body, question = _field(record, 'Body', 'body'), _field(record, 'Question', 'question')
  answer = _field(record, 'Answer', 'answer')
  return f'{body} {question}', _number(answer) if isinstance(answer, float) else _text(answer)


def _equations(record: Record) -> tuple[str, Any]:
  question = _field(record, 'sQuestion', 'original_text', 'Question', 'input', 'question')
  given = _field(record, 'lSolutions', 'ans', 'Answer', 'target', 'answer')
  solutions = given if isinstance(given, list) else [given]
  if len(solutions) != 1:
    return question, {'value': ', '.join(map(_text, solutions)), 'kind': 'set'}
  return question, _number(float(solutions[0]))


def _options(question: str, options: dict[str, str], letter: str) -> tuple[str, Any]:
  if letter not in options:
    raise ValueError(f'right option {letter!r}; options are {", ".join(options)}')
  listed = '\n'.join(f'{each}) {text}' for each, text in options.items())
  return f'{question}\n{listed}', {'value': letter, 'kind': 'choice', 'options': options}


def _lettered(record: Record) -> tuple[str, Any]:
  found = [_OPTION.fullmatch(option) for option in _field(record, 'options')]
  if not all(found):
    raise ValueError(f'options {record["options"]!r}; each should begin with its letter')
  options = {match[1]: match[2].strip() for match in found}
  return _options(_field(record, 'question'), options, str(_field(record, 'correct')).strip())


def _shuffled(record: Record) -> tuple[str, Any]:
  question, right = _field(record, 'Question').strip(), _field(record, 'Correct Answer').strip()
  wrong = [_field(record, f'Incorrect Answer {number}').strip() for number in (1, 2, 3)]
  # The right option stands first in the file; its place is a function of the question.
  texts = procedural.Draw('gpqa', question).shuffled([right, *wrong])
  return _options(question, dict(zip('ABCD', texts)), 'ABCD'[texts.index(right)])


def _rowed(record: Record) -> tuple[str, Any]:
  if '0' in record:  # a row: question, four options, letter
    texts, answer = [record[str(place)] for place in range(1, 5)], record['5']
  else:
    texts, answer = _field(record, 'choices'), _field(record, 'answer')
  letter = 'ABCDEFGHIJ'[answer] if isinstance(answer, int) else str(answer).strip()
  options = {each: str(text).strip() for each, text in zip('ABCDEFGHIJ', texts)}
  return _options(str(_field(record, '0', 'question')).strip(), options, letter)


# -- the table

_SPLITS = {split: (f'{split}.jsonl', f'{split}.json') for split in ('train', 'test')}
_MATH = _SPLITS | {split: (*_SPLITS[split], f'{split}/**/*.json') for split in _SPLITS}

DATA_SETS = {
  'math500': DataSet(
    _worked,
    _SPLITS,
    'https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/main/test.jsonl',
    'MIT (MATH)',
    symbolic=True,
  ),
  'math': DataSet(_worked, _MATH, 'https://github.com/hendrycks/math', 'MIT', symbolic=True),
  'aime': DataSet(
    _numbered,
    _SPLITS,
    'https://artofproblemsolving.com/wiki/index.php/AIME_Problems_and_Solutions',
    'problems are the property of the Mathematical Association of America',
  ),
  'amc': DataSet(
    _numbered,
    _SPLITS,
    'https://artofproblemsolving.com/wiki/index.php/AMC_Problems_and_Solutions',
    'problems are the property of the Mathematical Association of America',
  ),
  'minerva': DataSet(
    _course,
    _SPLITS,
    'https://huggingface.co/datasets/math-ai/minervamath',
    'courses of MIT OpenCourseWare, CC BY-NC-SA 4.0',
    symbolic=True,
  ),
  'olympiadbench': DataSet(
    _olympiad,
    {'test': ('OE_TO_maths_en_COMP.json', *_SPLITS['test'])},
    'https://github.com/OpenBMB/OlympiadBench',
    'see the repository; the problems are those of the olympiads',
    symbolic=True,
  ),
  'svamp': DataSet(
    _worded,
    {'train': _SPLITS['train'], 'test': (*_SPLITS['test'], 'SVAMP.json')},
    f'{_RAW}/arkilpatel/SVAMP/main/SVAMP.json',
    'MIT',
  ),
  'asdiv': DataSet(
    _worded,
    {'train': _SPLITS['train'], 'test': (*_SPLITS['test'], 'ASDiv.xml')},
    f'{_RAW}/chaochun/nlu-asdiv-dataset/master/dataset/ASDiv.xml',
    'CC BY-NC 4.0',
  ),
  'mawps': DataSet(
    _equations,
    _SPLITS,
    'https://github.com/sroy9/mawps',
    'not stated; collected from sites for teachers',
  ),
  'aqua': DataSet(
    _lettered, _SPLITS, 'https://github.com/google-deepmind/AQuA', 'Apache-2.0', choice=True
  ),
  'gpqa': DataSet(
    _shuffled,
    {'test': ('gpqa_diamond.csv', 'gpqa_main.csv', 'test.csv', 'test.jsonl')},
    'https://github.com/idavidrein/gpqa (its authors ask that no example is shown online)',
    'CC BY 4.0',
    choice=True,
  ),
  'mmlu': DataSet(
    _rowed,
    {
      'train': ('auxiliary_train/*.csv', 'train.csv', *_SPLITS['train']),
      'test': ('test/*.csv', 'test.csv', *_SPLITS['test']),
    },
    'https://github.com/hendrycks/test',
    'MIT',
    choice=True,
  ),
}
