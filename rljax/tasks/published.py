"""Published problems with short answers, by the table of `record_formats`: one loader, one reward.

    task = tasks.published(dataset='math500', path='~/data/math500')

Nothing is downloaded: a missing file is an error that says where it is published.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence

from rljax import data
from rljax.prompts import Prompt, Task
from rljax.rewards import answers
from rljax.rewards.grading import golds, symbolic
from rljax.tasks import procedural, record_files
from rljax.tasks.record_files import Record
from rljax.tasks.record_formats import DATA_SETS, DataSet

INSTRUCTION = 'Reason step by step and put the final answer in \\boxed{}.'
CHOICE_INSTRUCTION = 'Reason step by step and put the letter of the right option in \\boxed{}.'


def published(
  *,
  dataset: str,
  path: str | None = None,
  instruction: str | None = None,
  chat: bool = False,
  num_train: int | None = None,
  num_test: int | None = None,
  use_symbolic: bool | None = None,
) -> Task:
  """A published data set as a task; where it has no training file, `train` is empty.

  Args:
    dataset: name in `record_formats.DATA_SETS`.
    path: folder with its files, or one file, which is then the test split; None = the folder of
      that name under $RLJAX_DATA.
    instruction: added to each question on a line of its own; None = INSTRUCTION or
      CHOICE_INSTRUCTION.
    chat: True = prompts are a user message for the tokenizer's chat template.
    num_train, num_test: only the first so many; None = all.
    use_symbolic: whether formulas that the exact paths cannot decide go to math-verify; None =
      where answers are formulas.

  Raises:
    ValueError: an unknown name, or a record that cannot be read; names file and record.
    FileNotFoundError: no data; says where they are published.
    ModuleNotFoundError: math-verify is wanted and not installed.

  Examples:
    >>> try:
    ...   tasks.published(dataset='svamp', path='nothing')
    ... except FileNotFoundError as error:
    ...   print(str(error).split(';')[0])
    svamp: no test.jsonl or test.json or SVAMP.json in nothing
  """
  if dataset not in DATA_SETS:
    raise ValueError(f'published: dataset={dataset!r}; known are {", ".join(sorted(DATA_SETS))}')
  source = DATA_SETS[dataset]
  use_symbolic = source.symbolic if use_symbolic is None else use_symbolic
  if use_symbolic and not symbolic.available():
    raise ModuleNotFoundError(
      f'published: {dataset}: {symbolic.MISSING.replace("symbolic=", "use_symbolic=")}'
    )
  if instruction is None:
    instruction = CHOICE_INSTRUCTION if source.choice else INSTRUCTION
  make = functools.partial(_prompt, dataset, instruction=instruction, chat=chat)

  def prompts(split: str, num: int | None) -> Sequence[Prompt]:
    records = _records(dataset, source, path, split)
    num = len(records) if num is None else min(num, len(records))
    return procedural.Generated(num, lambda i: make(records[i], split, i))

  return Task(
    name=dataset,
    train=prompts('train', num_train),
    test=prompts('test', num_test),
    reward='rewards.short_answer' if use_symbolic else 'rewards.exact_answer',
    demonstrate=demonstrate,
    well_formed=well_formed,
    license=source.license,
  )


def demonstrate(prompt: Prompt) -> str:
  """The authors' solution, if it boxes its answer, else the boxed answer alone."""
  solution = prompt.metadata['solution']
  if answers.boxed(solution):
    return solution
  return f'\\boxed{{{golds.as_gold(prompt.answer).text}}}'


def well_formed(completion: str) -> bool:
  """Whether an answer is marked."""
  return answers.extract(completion) is not None


def _records(dataset: str, source: DataSet, path: str | None, split: str) -> Sequence[Record]:
  folder = data.data_dir() / dataset if path is None else pathlib.Path(path).expanduser()
  if folder.is_file():
    return record_files.read([folder]) if split == 'test' else []
  found = record_files.find(folder, source.files.get(split, ()))
  if not found and split == 'test':
    raise FileNotFoundError(
      f'{dataset}: no {" or ".join(source.files[split])} in {folder}; it is published at\n'
      f'  {source.url}\nLicence: {source.license}'
    )
  return record_files.read(found) if found else []


def _prompt(
  dataset: str, record: Record, split: str, index: int, *, instruction: str, chat: bool
) -> Prompt:
  where = f'{dataset}, {split} record {index + 1}'
  try:
    question, answer = DATA_SETS[dataset].read(record)
    golds.kind_of(answer)
  except KeyError as error:
    raise ValueError(f'{where}: has no {error}; it has {", ".join(record)}') from None
  except ValueError as error:
    raise ValueError(f'{where}: {error}') from None
  text = f'{question}\n{instruction}\n' if instruction else f'{question}\n'
  solution = record.get('solution', '')
  return Prompt(
    text=text,
    prompt_id=index,
    answer=answer,
    messages=({'role': 'user', 'content': text.rstrip('\n')},) if chat else None,
    metadata={'solution': solution if isinstance(solution, str) else ''},
  )
