"""Questions about a database, answered by a query: from a file with one problem a line."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

from rljax import data
from rljax.prompts import Prompt, Task
from rljax.rewards import sql
from rljax.tasks import coding

_QUERY = re.compile(r'(?:select|with|values)\b', re.IGNORECASE)


def text_to_sql(
  *,
  path: str | None = None,
  chat: bool = False,
  partial: float = 0.0,
  max_steps: int = 2_000_000,
  max_rows: int = 10_000,
) -> Task:
  """Problems from train.jsonl and test.jsonl.

  A record has 'question', 'schema' (a script that makes the tables; the prompt shows it) and
  'query' (the right one). The rows come from 'rows', a list of scripts each of which fills a
  database of its own, so that a query must be right on all of them; or from 'database', the path of
  a file of sqlite beside the .jsonl file. A schema may bring its rows along.

  Args:
    path: directory of the two files; None = text_to_sql under $RLJAX_DATA.
    chat: True = prompts are a user message.
    partial, max_steps, max_rows: of the reward, `rewards.sql.text_to_sql`.

  Raises:
    FileNotFoundError: no data.
    ValueError: a record lacks a field; names file and record.

  Examples:
    >>> row = {
    ...   'question': 'How many cats?',
    ...   'schema': 'CREATE TABLE cats (name TEXT);',
    ...   'query': 'SELECT COUNT(*) FROM cats',
    ...   'rows': ["INSERT INTO cats VALUES ('Tom');"],
    ... }
    >>> for split in ('train', 'test'):
    ...   files.write_text(f'sql/{split}.jsonl', files.json_lines([row]))
    >>> print(tasks.text_to_sql(path='sql').train[0].text)
    CREATE TABLE cats (name TEXT);
    -- How many cats?
  """
  folder = data.data_dir() / 'text_to_sql' if path is None else pathlib.Path(path).expanduser()

  def prompts(split: str) -> Sequence[Prompt]:
    file = folder / f'{split}.jsonl'
    if not file.is_file():
      raise FileNotFoundError(
        f'text_to_sql: {file} does not exist; it has one JSON object a line, with question, '
        'schema, query and with rows or database'
      )
    return coding.prompts(
      data.JsonLines(file), str(file), lambda *given: _prompt(*given, folder, chat)
    )

  return Task(
    name='text_to_sql',
    train=prompts('train'),
    test=prompts('test'),
    reward={
      'name': 'rewards.sql.text_to_sql',
      'partial': partial,
      'max_steps': max_steps,
      'max_rows': max_rows,
    },
    demonstrate=demonstrate,
    well_formed=well_formed,
  )


def demonstrate(prompt: Prompt) -> str:
  """The right query; in a block, if it answers a message."""
  return prompt.answer if prompt.messages is None else f'```sql\n{prompt.answer}\n```\n'


def well_formed(completion: str) -> bool:
  """Whether there is something that begins as a query does."""
  return _QUERY.match(sql.extract_query(completion)) is not None


def question_text(schema: str, question: str) -> str:
  """A prompt: the tables, then the question, as a comment of SQL."""
  return f'{schema.strip()}\n-- {" ".join(question.split())}\n'


def _prompt(
  record: coding.Record, where: str, index: int, folder: pathlib.Path, chat: bool
) -> Prompt:
  question, schema, query = (
    coding.field(record, key, str, where) for key in ('question', 'schema', 'query')
  )
  metadata = {'schema': schema}
  if 'rows' in record:
    metadata['rows'] = tuple(coding.field(record, 'rows', list, where))
  if 'database' in record:
    metadata['database'] = str(folder / coding.field(record, 'database', str, where))
  return Prompt(
    **coding.text(question_text(schema, question), chat),
    prompt_id=index,
    answer=query,
    metadata=metadata,
  )
