"""MBPP: short programs from a sentence and three asserts (Austin et al., 2021, 2108.07732).

Written after the description of the published files; not checked against the original file.
"""

from __future__ import annotations

from typing import Any

from rljax.prompts import Prompt, Task
from rljax.tasks import coding

URL = 'https://raw.githubusercontent.com/google-research/google-research/master/mbpp/mbpp.jsonl'
SPLITS = {'test': range(11, 511), 'validation': range(511, 601), 'train': range(601, 975)}


def mbpp(
  *,
  path: str | None = None,
  allow: bool = False,
  chat: bool = False,
  partial: float = 0.0,
  cpu_seconds: int = 4,
  total_seconds: float = 20.0,
  memory_mib: int = 512,
) -> Task:
  """374 training problems (task_id 601 … 974) and 500 test problems (11 … 510).

  The authors' prompt problems (1 … 10) and their validation split are in neither. The file is not
  checked against the original one.

  Args:
    path: mbpp.jsonl (records with 'text', 'code', 'task_id', 'test_list', 'test_setup_code'), or
      sanitized-mbpp.json (a list, with 'prompt' and 'test_imports'), or the directory of one; None
      = mbpp under $RLJAX_DATA.
    allow: True = programs of the model may run on this machine, see `rewards.sandbox`.
    chat: True = prompts are a user message.
    partial, cpu_seconds, total_seconds, memory_mib: of the reward, `rewards.programs.unit_tests`.

  Raises:
    FileNotFoundError: no data; says how to fetch it.
    NotAllowedError: `allow` is not True; says what the sandbox contains here.
    ValueError: a record lacks a field, or a split is empty; names the file.

  Examples:
    >>> try:
    ...   tasks.mbpp(path='nothing', allow=True)  # programs of the model run in a sandbox
    ... except FileNotFoundError as error:
    ...   print(str(error).split(';')[0])
    mbpp: nothing is no file and no directory with mbpp.jsonl or sanitized-mbpp.json
  """
  file = coding.find('mbpp', path, ('mbpp.jsonl', 'sanitized-mbpp.json'), URL)[0]
  records: dict[str, list[coding.Record]] = {name: [] for name in SPLITS}
  for index, record in enumerate(coding.read(file)):
    number = coding.field(record, 'task_id', int, f'{file}, record {index + 1}')
    for name, numbers in SPLITS.items():
      if number in numbers:
        records[name].append(record)
  for name in ('train', 'test'):
    if not records[name]:
      numbers = SPLITS[name]
      raise ValueError(f'{file}: no task_id in {numbers[0]} … {numbers[-1]}, which is {name}')

  def prompt(record: coding.Record, where: str, index: int) -> Prompt:
    return _prompt(record, where, index, chat)

  return coding.task(
    'mbpp',
    coding.prompts(records['train'], f'{file}, train', prompt),
    coding.prompts(records['test'], f'{file}, test', prompt),
    reward='unit_tests',
    allow=allow,
    demonstrate=demonstrate,
    license='CC BY 4.0',
    partial=partial,
    cpu_seconds=cpu_seconds,
    total_seconds=total_seconds,
    memory_mib=memory_mib,
  )


def demonstrate(prompt: Prompt) -> str:
  """The authors' program in a block."""
  return coding.fenced(prompt.metadata['solution'])


def _prompt(record: coding.Record, where: str, index: int, chat: bool) -> Prompt:
  def get(key: str, kind: Any) -> Any:
    return coding.field(record, key, kind, where)

  sentence = get('text' if 'text' in record else 'prompt', str)
  tests = tuple(get('test_list', list))
  setup = [get('test_setup_code', str)] if 'test_setup_code' in record else []
  setup += get('test_imports', list) if 'test_imports' in record else []
  question = f'{sentence}\nWrite it in Python, in one block. These tests must hold:\n\n'
  return Prompt(
    **coding.text(question + coding.fenced('\n'.join(tests)), chat),
    prompt_id=index,
    answer=(*setup, *tests),
    metadata={'solution': get('code', str), 'task_id': get('task_id', int)},
  )
