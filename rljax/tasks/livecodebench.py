"""LiveCodeBench: contest problems with hidden cases (Jain et al., 2024, 2403.07974).

Written after the description of the published files; not checked against the original file.
"""

from __future__ import annotations

import base64
import pickletools
import zlib
from typing import Any

from rljax import files
from rljax.prompts import Prompt, Task
from rljax.tasks import coding

URL = 'https://huggingface.co/datasets/livecodebench/code_generation_lite/resolve/main/test.jsonl'
_TEXT = {'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'UNICODE'}
_AROUND = {'PROTO', 'FRAME', 'MEMOIZE', 'PUT', 'BINPUT', 'LONG_BINPUT', 'STOP'}
FILES = ('test.jsonl', *(f'test{i}.jsonl' for i in range(2, 10)))


def livecodebench(
  *,
  path: str | None = None,
  allow: bool = False,
  chat: bool = False,
  test_from: str = '',
  partial: float = 0.0,
  cpu_seconds: int = 4,
  total_seconds: float = 20.0,
  memory_mib: int = 512,
) -> Task:
  """Problems of contests, split by their date.

  A problem is a script from standard input to standard output, or a function to define where the
  record has a head to start from. The files are not checked against the original ones.

  Args:
    path: a .jsonl file, or a directory with test.jsonl, test2.jsonl …; None = livecodebench under
      $RLJAX_DATA. Records have 'question_content', 'question_id', 'contest_date', 'starter_code',
      'public_test_cases', 'private_test_cases' and 'metadata'.
    allow: True = programs of the model may run on this machine, see `rewards.sandbox`.
    chat: True = prompts are a user message.
    test_from: contests from this date on (YYYY-MM-DD) are the test split, those before it are for
      training; '' = all are the test split.
    partial, cpu_seconds, total_seconds, memory_mib: of the reward, `rewards.programs.stdin_cases`.

  Raises:
    FileNotFoundError: no data; says how to fetch it.
    NotAllowedError: `allow` is not True; says what the sandbox contains here.
    ValueError: a record lacks a field or has cases of an unknown kind; names file and record.

  Examples:
    >>> try:
    ...   tasks.livecodebench(path='nothing', allow=True)  # programs of the model run in a sandbox
    ... except FileNotFoundError as error:
    ...   print(str(error).split(' with')[0])
    livecodebench: nothing is no file and no directory
  """
  splits: dict[str, list[coding.Record]] = {'train': [], 'test': []}
  for file in coding.find('livecodebench', path, FILES, URL):
    for index, record in enumerate(coding.read(file)):
      where = f'{file}, record {index + 1}'
      date = coding.field(record, 'contest_date', str, where)
      splits['test' if date >= test_from else 'train'].append({**record, 'where': where})

  def prompt(record: coding.Record, where: str, index: int) -> Prompt:
    return _prompt(record, record['where'], index, chat)

  return coding.task(
    'livecodebench',
    coding.prompts(splits['train'], 'train', prompt),
    coding.prompts(splits['test'], 'test', prompt),
    reward='stdin_cases',
    allow=allow,
    demonstrate=None,
    license='CC BY 4.0',
    partial=partial,
    cpu_seconds=cpu_seconds,
    total_seconds=total_seconds,
    memory_mib=memory_mib,
  )


def _prompt(record: coding.Record, where: str, index: int, chat: bool) -> Prompt:
  starter = coding.field(record, 'starter_code', str, where)
  cases = [
    case
    for name in ('public_test_cases', 'private_test_cases')
    for case in _cases(coding.field(record, name, str, where), f'{where}, {name}')
  ]
  kinds = {case['testtype'] for case in cases}
  if kinds not in ({'stdin'}, {'functional'}):
    raise ValueError(f'{where}: test types {sorted(kinds)}, expected stdin or functional')
  function = ''
  if kinds == {'functional'}:
    function = _json(coding.field(record, 'metadata', str, where), f'{where}, metadata')
    function = coding.field(function, 'func_name', str, f'{where}, metadata')
    asked = f'Complete this in one block of Python:\n\n{coding.fenced(starter)}'
  else:
    asked = 'Write one block of Python that reads standard input and writes standard output.\n'
  question = coding.field(record, 'question_content', str, where)
  return Prompt(
    **coding.text(f'{question}\n\n{asked}', chat),
    prompt_id=index,
    answer=tuple((case['input'], case['output']) for case in cases),
    metadata={
      'function': function,
      'question_id': coding.field(record, 'question_id', str, where),
      'contest_date': record['contest_date'],
    },
  )


def _cases(text: str, where: str) -> list[dict[str, str]]:
  """Cases as JSON, or as JSON in a pickled string, compressed, in base 64."""
  if not text.lstrip().startswith('['):
    try:
      text = _unpickled(zlib.decompress(base64.b64decode(text, validate=True)))
    except (ValueError, zlib.error) as error:
      raise ValueError(f'{where}: neither JSON nor a compressed string: {error}') from None
  cases = _json(text, where)
  for case in cases:
    for key in ('input', 'output', 'testtype'):
      coding.field(case, key, str, where)
  return cases


def _unpickled(packed: bytes) -> str:
  """The string of a pickle that holds nothing else; the pickle is looked at and never run."""
  found = [(operation.name, value) for operation, value, _ in pickletools.genops(packed)]
  others = sorted({name for name, _ in found if name not in _TEXT | _AROUND})
  strings = [value for name, value in found if name in _TEXT]
  if others or len(strings) != 1:
    raise ValueError(f'its pickle is not one string: {", ".join(others) or len(strings)}')
  return strings[0]


def _json(text: str, where: str) -> Any:
  try:
    return files.parse_json(text)
  except (TypeError, ValueError) as error:
    raise ValueError(f'{where}: no JSON: {error}') from None
