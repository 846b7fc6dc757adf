"""GSM8K: grade-school word problems whose answer is one number (Cobbe et al., 2021, 2110.14168)."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from rljax import data
from rljax.prompts import Prompt, Task
from rljax.rewards import answers
from rljax.tasks import procedural

INSTRUCTION = 'Reason step by step and write the final number after "####".'
URL = 'https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data'

_CALCULATOR = re.compile(r'<<[^<>]*>>')
_FINAL = re.compile(r'####\s*\S*[0-9]')


def reward(completion: str, answer: str) -> float:
  """1 if the completion's final number equals the answer, else 0.

  Which number is final: `rewards.answers.extract_number`. Numbers are compared exactly; thousands'
  commas, `$` and `%` do not matter.

  Args:
    completion: a worked solution.
    answer: the number, as text.
  """
  number = answers.extract_number(completion)
  return float(number is not None and number == answers.parse_number(answer))


def gsm8k(
  *,
  path: str | None = None,
  instruction: str = INSTRUCTION,
  chat: bool = False,
  num_train: int | None = None,
  num_test: int | None = None,
) -> Task:
  r"""7,473 training and 1,319 test problems, as split by the authors.

  Args:
    path: directory with train.jsonl and test.jsonl (records with 'question' and 'answer'), or with
      what the builder `data.gsm8k_builder.Gsm8k` has prepared; None = gsm8k under $RLJAX_DATA.
    instruction: added to each question on a line of its own.
    chat: True = prompts are a user message for the tokenizer's chat template.
    num_train, num_test: only the first so many; None = all.

  Raises:
    FileNotFoundError: no data; says how to fetch it.
    ValueError: a record without question or answer; names file and line.

  Examples:
    >>> line = '{"question": "How many legs have 3 cats?", "answer": "3 * 4 = 12\\n#### 12"}\n'
    >>> for split in ('train', 'test'):
    ...   files.write_text(f'gsm8k/{split}.jsonl', line)
    >>> task = tasks.gsm8k(path='gsm8k')
    >>> print(task.train[0].answer, task.reward)
    12 tasks.gsm8k.reward
  """
  train, test = _open(path)

  def prompts(records: Sequence[dict[str, Any]], split: str, num: int | None) -> Sequence[Prompt]:
    num = len(records) if num is None else min(num, len(records))
    return procedural.Generated(
      num, lambda i: _prompt(records[i], f'gsm8k, {split} record {i + 1}', i, instruction, chat)
    )

  return Task(
    name='gsm8k',
    train=prompts(train, 'train', num_train),
    test=prompts(test, 'test', num_test),
    reward='tasks.gsm8k.reward',
    demonstrate=demonstrate,
    well_formed=well_formed,
    license='MIT',
  )


def demonstrate(prompt: Prompt) -> str:
  """The authors' solution without its calculator annotations `<<…>>`."""
  return _CALCULATOR.sub('', prompt.metadata['solution'])


def well_formed(completion: str) -> bool:
  """Whether a number stands behind `####`."""
  return _FINAL.search(completion) is not None


def _prompt(
  record: dict[str, Any], where: str, index: int, instruction: str, chat: bool
) -> Prompt:
  try:
    question, solution = (_text(record[key]) for key in ('question', 'answer'))
  except KeyError as error:
    raise ValueError(f'{where}: has no {error}') from None
  _, mark, answer = solution.rpartition('####')
  if not mark or answers.parse_number(answer) is None:
    raise ValueError(f'{where}: no number behind #### in its answer')
  text = f'{question}\n{instruction}\n' if instruction else f'{question}\n'
  return Prompt(
    text=text,
    prompt_id=index,
    answer=answer.strip(),
    messages=({'role': 'user', 'content': text.rstrip('\n')},) if chat else None,
    metadata={'solution': solution},
  )


def _text(value: str | bytes) -> str:
  return value.decode('utf-8') if isinstance(value, bytes) else value


def _open(path: str | None) -> tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]]:
  folder = data.data_dir() / 'gsm8k' if path is None else pathlib.Path(path).expanduser()
  if folder.suffix == '.jsonl':
    folder = folder.parent
  files = [folder / f'{split}.jsonl' for split in ('train', 'test')]
  if all(file.is_file() for file in files):
    return data.JsonLines(files[0]), data.JsonLines(files[1])
  prepared = sorted(folder.glob('**/dataset_info.json'))
  if prepared:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(os.fspath(prepared[-1].parent))
    return builder.as_data_source('train'), builder.as_data_source('test')
  missing = next(file for file in files if not file.is_file())
  raise FileNotFoundError(
    f'gsm8k: {missing} does not exist; fetch it by\n'
    f'  mkdir -p {folder} && cd {folder} && curl -fLO {URL}/train.jsonl -O {URL}/test.jsonl'
  )
