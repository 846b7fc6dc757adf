"""Rewards of completions that are SQL queries: their result beside that of a right query.

Queries run in sqlite within this process. They can read one database and do nothing else: an
authorizer lets through reading only. What they take is counted in steps of sqlite's virtual machine
and not in seconds, so that a busy machine changes no reward.
"""

from __future__ import annotations

import collections
import math
import pathlib
import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rljax.rewards import fences

_STEPS_BETWEEN = 1000  # looks at how many steps there were
_MAX_LENGTH = 100_000  # bytes of a text, a row or a query
_READING = (
  sqlite3.SQLITE_SELECT,
  sqlite3.SQLITE_READ,
  sqlite3.SQLITE_FUNCTION,
  sqlite3.SQLITE_RECURSIVE,
)
# Of files and libraries; and of chance, which would give another result each time.
_REFUSED = ('load_extension', 'readfile', 'writefile', 'edit', 'random', 'randomblob')
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_ORDER = re.compile(r'\border\s+by\b', re.IGNORECASE)


class Table(NamedTuple):
  """The result of a query.

  Attributes:
    width: columns.
    rows: tuples of `width` values.
  """

  width: int
  rows: list[tuple[Any, ...]]


class QueryError(Exception):
  """A query that has no result; `is_late` = because it takes too long."""

  def __init__(self, message: str, *, is_late: bool = False) -> None:
    super().__init__(message)
    self.is_late = is_late


def extract_query(completion: str) -> str:
  """The query in a completion: its last block of SQL, see `fences.fenced_block`."""
  return fences.fenced_block(completion, ('sql', 'sqlite')).strip()


def text_to_sql(
  completion: str,
  answer: str,
  metadata: Mapping[str, Any],
  *,
  partial: float = 0.0,
  max_steps: int = 2_000_000,
  max_rows: int = 10_000,
) -> dict[str, float]:
  """Whether a query gives what the right query gives, on each of its databases.

  Rows are compared with their repetitions, in their order if the right query orders them (at its
  outermost level), else in any. The order of columns counts, their names do not. Numbers are equal
  if they differ by 1e-9 of themselves at most.

  Args:
    completion: text with a query, see `extract_query`.
    answer: the right query.
    metadata: 'database', the path of a file of sqlite; or 'schema', a script that makes a database
      in memory, and 'rows', scripts that fill it: each makes a database of its own.
    partial: weight of the mean of 'execution', 'columns' and 'rows'; the rest is the weight of 1 if
      all results are equal, else 0.
    max_steps: of sqlite's virtual machine, of one query.
    max_rows: of a result.

  Returns:
    'reward' and the components 'accuracy' (1 = equal results), 'execution' (1 = it has a result),
    'columns' and 'rows' (F1 of columns, each as the values that stand in it, and of rows) and
    'timeout' (1 = over `max_steps`). With several databases means, of accuracy the least.

  Raises:
    ValueError: the right query has no result, or there is no database.
  """
  if not 0 <= partial <= 1:
    raise ValueError(f'partial={partial}; it is a weight between 0 and 1')
  query, found = extract_query(completion), []
  for connection in databases(metadata):
    try:
      found.append(_compare(connection, query, answer, max_steps, max_rows))
    finally:
      connection.close()
  mean = {name: sum(f[name] for f in found) / len(found) for name in found[0]}
  mean['accuracy'] = min(f['accuracy'] for f in found)
  graded = (mean['execution'] + mean['columns'] + mean['rows']) / 3
  return {'reward': (1 - partial) * mean['accuracy'] + partial * graded, **mean}


def run_query(
  connection: sqlite3.Connection, query: str, *, max_steps: int, max_rows: int
) -> Table:
  """The result of one query that only reads.

  Raises:
    QueryError: it is no query, does more than reading, or is over a limit.
  """
  steps = 0

  def count() -> bool:
    nonlocal steps
    steps += _STEPS_BETWEEN
    return steps > max_steps

  for limit in (sqlite3.SQLITE_LIMIT_LENGTH, sqlite3.SQLITE_LIMIT_SQL_LENGTH):
    connection.setlimit(limit, _MAX_LENGTH)
  connection.set_authorizer(_authorize)
  connection.set_progress_handler(count, _STEPS_BETWEEN)
  try:
    cursor = connection.execute(query)
    rows = cursor.fetchmany(max_rows + 1)
  except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
    is_late = steps > max_steps
    message = f'over {max_steps} steps' if is_late else f'{type(error).__name__}: {error}'
    raise QueryError(message, is_late=is_late) from None
  finally:
    connection.set_authorizer(None)
    connection.set_progress_handler(None, 0)
  if cursor.description is None:
    raise QueryError('it is no query')
  if len(rows) > max_rows:
    raise QueryError(f'more than {max_rows} rows')
  return Table(len(cursor.description), rows)


def _authorize(action: int, first: str | None, second: str | None, *_: Any) -> int:
  if action not in _READING or (action == sqlite3.SQLITE_FUNCTION and second in _REFUSED):
    return sqlite3.SQLITE_DENY
  return sqlite3.SQLITE_OK


def databases(metadata: Mapping[str, Any]) -> list[sqlite3.Connection]:
  """The databases of a prompt, each open; see `text_to_sql`.

  Raises:
    ValueError: there is none, or its script is wrong.
  """
  if 'database' in metadata:
    path = pathlib.Path(metadata['database']).expanduser().resolve()
    if not path.is_file():
      raise ValueError(f'text_to_sql: there is no database {path}')
    made = [sqlite3.connect(f'{path.as_uri()}?mode=ro', uri=True)]
  elif 'schema' in metadata:
    made = []
    for rows in metadata.get('rows') or ('',):
      made.append(sqlite3.connect(':memory:'))
      try:
        made[-1].executescript(f'{metadata["schema"]}\n;\n{rows}')
      except sqlite3.Error as error:
        raise ValueError(f'text_to_sql: its schema or its rows are wrong: {error}') from None
  else:
    raise ValueError(f"text_to_sql: no 'schema' and no 'database' in metadata {sorted(metadata)}")
  for connection in made:
    connection.execute('PRAGMA temp_store = MEMORY')  # nothing is written to disk
    connection.execute('PRAGMA query_only = ON')
  return made


def _compare(
  connection: sqlite3.Connection, query: str, answer: str, max_steps: int, max_rows: int
) -> dict[str, float]:
  limits = {'max_steps': max_steps, 'max_rows': max_rows}
  try:
    wanted = run_query(connection, answer, **limits)
  except QueryError as error:
    raise ValueError(f'the right query {answer[:200]!r} has no result: {error}') from None
  names = ('accuracy', 'execution', 'columns', 'rows', 'timeout')
  try:
    given = run_query(connection, query, **limits)
  except QueryError as error:
    return dict(zip(names, (0.0, 0.0, 0.0, 0.0, float(error.is_late))))
  ordered = bool(_ORDER.search(_outermost(answer)))
  columns = _f1(_columns(given), _columns(wanted))
  rows = _f1(_keys(given.rows), _keys(wanted.rows)) if given.width == wanted.width else 0.0
  is_right = given.width == wanted.width and _same(given.rows, wanted.rows, ordered)
  return dict(zip(names, (float(is_right), 1.0, columns, rows, 0.0)))


def _outermost(query: str) -> str:
  """A query without what stands in quotes, comments and brackets."""
  depth, kept = 0, []
  for letter in _QUOTED.sub(' ', query):
    depth += (letter == '(') - (letter == ')')
    kept.append(letter if depth == 0 else ' ')
  return ''.join(kept)


def _same(rows: Sequence[tuple], wanted: Sequence[tuple], ordered: bool) -> bool:
  if len(rows) != len(wanted):
    return False
  if not ordered:
    rows, wanted = sorted(rows, key=_sort_key), sorted(wanted, key=_sort_key)
  return all(_same_value(a, b) for r, w in zip(rows, wanted) for a, b in zip(r, w))


def _same_value(a: Any, b: Any) -> bool:
  if isinstance(a, int | float) and isinstance(b, int | float):
    return a == b or math.isclose(a, b, rel_tol=1e-9)
  return type(a) is type(b) and a == b


def _sort_key(row: tuple) -> list[tuple]:
  return [key(value) for value in row]


def key(value: Any) -> tuple:
  """What sorts and counts values of all types; numbers by nine digits."""
  if value is None:
    return (0,)
  if isinstance(value, int | float):
    return (1, float(f'{value:.9g}') if abs(value) < 1e300 else value)
  return (2, value) if isinstance(value, str) else (3, value)


def _keys(rows: Sequence[tuple]) -> collections.Counter:
  return collections.Counter(tuple(map(key, row)) for row in rows)


def _columns(table: Table) -> collections.Counter:
  columns = [tuple(sorted(key(row[i]) for row in table.rows)) for i in range(table.width)]
  return collections.Counter(columns)


def _f1(given: collections.Counter, wanted: collections.Counter) -> float:
  total = given.total() + wanted.total()
  return 2 * (given & wanted).total() / total if total else 1.0
