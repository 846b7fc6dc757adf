"""Your own data: records of a file or directory as prompts, with a reward by name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from rljax.data.records import open_records
from rljax.prompts import Prompt, Task
from rljax.tasks import procedural


def records(
  *,
  path: str,
  reward: str,
  label: str = 'records',
  prompt: str = '{prompt}',
  answer: str | None = 'answer',
  demonstration: str | None = None,
  system: str = '',
  chat: bool = False,
  train_split: str = 'train',
  test_path: str | None = None,
  test_split: str = 'test',
  test_fraction: float = 0.0,
  num_train: int | None = None,
  num_test: int | None = None,
  license: str = '',
) -> Task:
  """Prompts from jsonl, json, csv, parquet, arrow files, `datasets` or TFDS directories.

  Args:
    path: of the records, see `data.open_records`.
    reward: dotted name of the reward; it sees the record as `metadata`.
    label: name of the task, in metric names.
    prompt: what is asked, with fields of the record in braces.
    answer: field that the reward compares with; None = there is none.
    demonstration: a right completion, with fields in braces; None = there are none.
    system: a system message; for chat prompts.
    chat: the prompt is a user message for the tokenizer's chat template.
    train_split, test_split: of a directory.
    test_path: of the held-out records where they stand elsewhere; None = `path`.
    test_fraction: share of the training records that is held out by a hash of their prompts, in
      place of a test split; what is asked in the same words is on the same side.
    num_train, num_test: only the first so many; None = all.
    license: of the data.

  Raises:
    FileNotFoundError: no records.
    ValueError: a record without a field that is asked for; names both. A system message without
      chat.

  Examples:
    >>> rows = [{'question': f'{i}+1', 'gold': str(i + 1)} for i in range(20)]
    >>> files.write_text('problems.jsonl', files.json_lines(rows))
    >>> task = tasks.records(
    ...   path='problems.jsonl',
    ...   prompt='{question}=',
    ...   answer='gold',
    ...   reward='rewards.exact_answer',
    ...   test_fraction=0.2,
    ... )
    >>> print(task.train[0].text, task.train[0].answer, len(task.train) + len(task.test))
    0+1= 1 20
  """
  if system and not chat:
    raise ValueError('records: a system message needs chat=True')
  given = open_records(path, train_split)

  def make(record: dict[str, Any], where: str, index: int) -> Prompt:
    text = _fill(prompt, record, where)
    if answer is not None and answer not in record:
      raise ValueError(f'{where}: has no field {answer!r}; it has {", ".join(record)}')
    messages = ({'role': 'system', 'content': system},) if system else ()
    return Prompt(
      text=text,
      prompt_id=index,
      answer=None if answer is None else record[answer],
      messages=(*messages, {'role': 'user', 'content': text}) if chat else None,
      metadata=dict(record),
    )

  def chosen(source: Sequence[dict[str, Any]], numbers: Sequence[int], num: int | None, split: str):
    numbers = numbers if num is None else numbers[:num]
    return procedural.Generated(
      len(numbers),
      lambda i: make(source[numbers[i]], f'{label}, {split} record {numbers[i] + 1}', i),
    )

  if test_fraction:
    held_out = [_is_held_out(_fill(prompt, r, label), test_fraction) for r in given]
    test = chosen(given, [i for i, out in enumerate(held_out) if out], num_test, train_split)
    numbers: Sequence[int] = [i for i, out in enumerate(held_out) if not out]
  else:
    other = open_records(test_path or path, test_split)
    test = chosen(other, range(len(other)), num_test, test_split)
    numbers = range(len(given))
  return Task(
    name=label,
    train=chosen(given, numbers, num_train, train_split),
    test=test,
    reward=reward,
    demonstrate=None
    if demonstration is None
    else lambda p: _fill(demonstration, p.metadata, f'{label}, prompt {p.prompt_id}'),
    license=license,
  )


def _fill(template: str, record: dict[str, Any], where: str) -> str:
  try:
    return template.format_map(record)
  except KeyError as error:
    raise ValueError(f'{where}: has no field {error}; it has {", ".join(record)}') from None


def _is_held_out(text: str, fraction: float) -> bool:
  plain = ' '.join(text.lower().split())
  digest = hashlib.blake2b(plain.encode('utf-8', 'surrogatepass'), digest_size=8).digest()
  return int.from_bytes(digest, 'little') < fraction * 2**64
