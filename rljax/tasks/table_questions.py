"""Small questions about one random table, answered by a query.

prompt      CREATE TABLE ships (name TEXT, color TEXT, length INTEGER, age INTEGER);
            -- How many ships have a length above 40?
completion  SELECT COUNT(*) FROM ships WHERE length > 40
"""

from __future__ import annotations

import functools
import sqlite3

from rljax.prompts import Prompt, Task
from rljax.tasks import procedural
from rljax.tasks.text_to_sql import demonstrate, question_text, well_formed

TABLES = {  # table: (its kinds, their values, its numbers)
  'ships': ('color', ('red', 'blue', 'green', 'white'), ('length', 'age', 'speed')),
  'trees': ('kind', ('oak', 'pine', 'birch', 'elm'), ('height', 'age', 'width')),
  'towns': ('region', ('north', 'south', 'east', 'west'), ('people', 'area', 'schools')),
  'books': ('genre', ('crime', 'poetry', 'history', 'travel'), ('pages', 'price', 'year')),
  'birds': ('colour', ('black', 'brown', 'grey', 'yellow'), ('weight', 'wingspan', 'eggs')),
}
NAMES = tuple('Ada Bo Cleo Dan Eve Finn Gus Hana Ida Jon Kim Leo Mia Nils Oda Pia'.split())
QUESTIONS = ('count', 'list', 'largest', 'total', 'groups', 'both', 'order')


def table_questions(
  *,
  questions: tuple[str, ...] = QUESTIONS,
  num_rows: int = 8,
  num_databases: int = 2,
  high: int = 99,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
  partial: float = 0.0,
) -> Task:
  """Random tables with questions; a query must be right on several fillings of the table.

  A question about a table (with its numbers and kinds) is on one side of the split, whatever the
  rows.

  Args:
    questions: kinds of questions, of `QUESTIONS`.
    num_rows: rows of a table, 2 … 16.
    num_databases: fillings of the table; one alone lets wrong queries be right by chance.
    high: numbers are 1 … high.
    num_train: training prompts; a question may come up more than once.
    num_test: held-out questions, all different.
    test_fraction: share of all questions that is held out, as a fraction.
    seed: of the prompts, not of the split.
    partial: of the reward, `rewards.sql.text_to_sql`.

  Raises:
    ValueError: an unknown kind of question, an impossible number, or fewer than `num_test`
      questions.

  Examples:
    >>> task = tasks.table_questions(num_rows=2, num_train=8, num_test=4)
    >>> print(task.train[0].text)
    CREATE TABLE trees (name TEXT, kind TEXT, height INTEGER, age INTEGER, width INTEGER);
    -- Give the total age of the trees whose kind is 'birch'.
  """
  unknown = sorted({*questions} - {*QUESTIONS})
  if unknown or not questions:
    raise ValueError(f'table_questions: questions={questions}; there are {", ".join(QUESTIONS)}')
  if not 2 <= num_rows <= len(NAMES) or num_databases < 1 or high < num_rows:
    raise ValueError(
      f'table_questions: num_rows={num_rows}, num_databases={num_databases}, high={high}; needs '
      f'2 … {len(NAMES)} rows, a database, and high ≥ num_rows'
    )
  held_out_below = procedural.threshold(test_fraction)

  def make(split: str, index: int, prompt_id: int) -> Prompt:
    def propose(draw: procedural.Draw) -> Prompt | None:
      table = draw.one_of(sorted(TABLES))
      question, query = _ask(draw, table, draw.one_of(questions), high)
      held_out = procedural.mix(map(ord, f'{table}: {query}')) < held_out_below
      if held_out != (split == 'test'):
        return None
      rows = tuple(_rows(draw, table, num_rows, high) for _ in range(num_databases))
      if not all(_has_result(table, script, query) for script in rows):
        return None
      schema = _schema(table)
      return Prompt(
        text=question_text(schema, question),
        prompt_id=prompt_id,
        answer=query,
        metadata={'schema': schema, 'rows': rows},
      )

    return procedural.first_accepted(
      procedural.Draw('table_questions', seed, split, index),
      propose,
      f'table_questions: no question found for the {split} split; change test_fraction',
    )

  return Task(
    name='table_questions',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      functools.partial(make, 'test'),
      canonical,
      f'table_questions: too few questions for num_test={num_test}; raise test_fraction',
    ),
    reward={'name': 'rewards.sql.text_to_sql', 'partial': partial},
    demonstrate=demonstrate,
    well_formed=well_formed,
    license='Apache-2.0 (generated)',
  )


def canonical(prompt: Prompt) -> str:
  """What makes two prompts the same problem: the right query, which names its table."""
  return prompt.answer


def _schema(table: str) -> str:
  kind, _, numbers = TABLES[table]
  columns = ''.join(f', {number} INTEGER' for number in numbers)
  return f'CREATE TABLE {table} (name TEXT, {kind} TEXT{columns});'


def _rows(draw: procedural.Draw, table: str, num_rows: int, high: int) -> str:
  """A script; no number comes up twice in a column, so that the largest is one."""
  _, values, numbers = TABLES[table]
  names = draw.shuffled(NAMES)[:num_rows]
  columns = [draw.shuffled(range(1, high + 1))[:num_rows] for _ in numbers]
  lines = (
    f"('{name}', '{draw.one_of(values)}', {', '.join(map(str, row))})"
    for name, *row in zip(names, *columns)
  )
  return f'INSERT INTO {table} VALUES {", ".join(lines)};'


def _ask(draw: procedural.Draw, table: str, kind: str, high: int) -> tuple[str, str]:
  """(question, right query)."""
  group, values, numbers = TABLES[table]
  number, other = draw.shuffled(numbers)[:2]
  value, bound = draw.one_of(values), draw.between(1, high - 1)
  source = f'FROM {table}'
  return {
    'count': (
      f'How many {table} have a {number} above {bound}?',
      f'SELECT COUNT(*) {source} WHERE {number} > {bound}',
    ),
    'list': (
      f"Give the names of the {table} whose {group} is '{value}'.",
      f"SELECT name {source} WHERE {group} = '{value}'",
    ),
    'largest': (
      f'Which of the {table} has the largest {number}? Give its name.',
      f'SELECT name {source} ORDER BY {number} DESC LIMIT 1',
    ),
    'total': (
      f"Give the total {number} of the {table} whose {group} is '{value}'.",
      f"SELECT SUM({number}) {source} WHERE {group} = '{value}'",
    ),
    'groups': (
      f'Give each {group} of the {table} and the average {number} of it.',
      f'SELECT {group}, AVG({number}) {source} GROUP BY {group}',
    ),
    'both': (
      f"Give name and {other} of the {table} with {group} '{value}' and {number} below {bound}.",
      f"SELECT name, {other} {source} WHERE {group} = '{value}' AND {number} < {bound}",
    ),
    'order': (
      f'Give the names of the {table} with a {number} above {bound}, the smallest {other} first.',
      f'SELECT name {source} WHERE {number} > {bound} ORDER BY {other}',
    ),
  }[kind]


def _has_result(table: str, rows: str, query: str) -> bool:
  """Whether the query finds anything: nothing, 0 and NULL are found by wrong queries, too."""
  connection = sqlite3.connect(':memory:')
  try:
    connection.executescript(_schema(table) + rows)
    found = connection.execute(query).fetchall()
  finally:
    connection.close()
  return bool(found) and any(value not in (0, None) for value in found[0])
