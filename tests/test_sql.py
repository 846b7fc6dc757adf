"""Queries of a model: they read and do nothing else, and are graded by their results."""

import itertools
import json
import sqlite3

import pytest

from rljax import tasks
from rljax.prompts import Completion
from rljax.rewards import Scorer, sql
from rljax.tasks.table_questions import QUESTIONS

SCHEMA = 'CREATE TABLE t (a INTEGER, b TEXT, c REAL);'
ROWS = "INSERT INTO t VALUES (1, 'x', 0.5), (2, 'y', NULL), (2, 'y', 0.1), (3, 'z', 0.3);"
ENDLESS = 'WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT '
LIMITS = dict(max_steps=100_000, max_rows=100)


def score(query, answer, rows=(ROWS,), **given):
  metadata = {'schema': SCHEMA, 'rows': rows}
  return sql.text_to_sql(query, answer, metadata, **{**LIMITS, **given})


@pytest.fixture
def connection():
  made = sqlite3.connect(':memory:')
  made.executescript(SCHEMA + ROWS)
  yield made
  made.close()


def test_extraction():
  assert sql.extract_query('so:\n```sql\nSELECT 1\n```\n```\nx\n```') == 'SELECT 1'
  assert sql.extract_query(' SELECT 1;\n') == 'SELECT 1;'


@pytest.mark.parametrize(
  ('query', 'answer', 'is_right'),
  [
    ('select B from T where A > 1', 'SELECT b FROM t WHERE a >= 2', True),
    ('SELECT b FROM t ORDER BY a DESC', 'SELECT b FROM t', True),
    ('SELECT b FROM t ORDER BY a DESC', 'SELECT b FROM t ORDER BY a', False),
    ('SELECT b FROM t', "SELECT b FROM t WHERE b != ' order by '", True),
    ('SELECT b FROM t ORDER BY a DESC', 'SELECT b FROM (SELECT * FROM t ORDER BY a)', True),
    ('SELECT DISTINCT b FROM t', 'SELECT b FROM t', False),
    ('SELECT b, a FROM t', 'SELECT a, b FROM t', False),
    ('SELECT a AS z FROM t;', 'SELECT a FROM t', True),
    ('SELECT 0.1 + 0.2', 'SELECT 0.3', True),
    ('SELECT 2.0', 'SELECT 2', True),
    ("SELECT '2'", 'SELECT 2', False),
    ('SELECT NULL', 'SELECT 0', False),
    ('SELECT NULL', "SELECT ''", False),
    ('SELECT c FROM t WHERE c IS NULL', 'SELECT c FROM t WHERE a = 2 AND c IS NULL', True),
    ('SELECT a FROM t WHERE a > 9', 'SELECT a FROM t WHERE a > 8', True),
    ('SELECT a, b FROM t WHERE a > 9', 'SELECT a FROM t WHERE a > 8', False),
    ("SELECT x'01'", "SELECT x'01'", True),
  ],
)
def test_results_are_compared(query, answer, is_right):
  assert score(query, answer)['accuracy'] == is_right


def test_grades():
  def grades(query, answer, **given):
    found = score(query, answer, **given)
    return tuple(round(found[k], 6) for k in ('reward', 'accuracy', 'execution', 'columns', 'rows'))

  assert grades('SELECT a FROM t', 'SELECT a FROM t') == (1, 1, 1, 1, 1)
  assert grades('SELECT b, a FROM t', 'SELECT a, b FROM t') == (0, 0, 1, 1, 0)
  assert grades('SELECT a FROM t WHERE a < 3', 'SELECT a FROM t')[2:] == (1, 0, round(6 / 7, 6))
  assert grades('SELECT a, b FROM t', 'SELECT a FROM t')[2:] == (1, round(2 / 3, 6), 0)
  assert grades('SELEC', 'SELECT a FROM t', partial=0.5) == (0, 0, 0, 0, 0)
  half = grades('SELECT a FROM t WHERE a < 3', 'SELECT a FROM t', partial=0.3)
  assert half[0] == round(0.3 * (1 + 0 + 6 / 7) / 3, 6)
  with pytest.raises(ValueError, match=r'partial=-1'):
    score('', '', partial=-1)


def test_a_query_must_be_right_on_each_database():
  other = "INSERT INTO t VALUES (3, 'z', 1), (7, 'z', 1)"
  query, answer = 'SELECT COUNT(*) FROM t WHERE a > 2', "SELECT COUNT(*) FROM t WHERE b = 'z'"
  assert score(query, answer, rows=(ROWS, other))['accuracy'] == 1
  found = score('SELECT 1', answer, rows=(ROWS, other))
  assert (found['accuracy'], found['execution'], found['rows']) == (0, 1, 0.5)


@pytest.mark.parametrize(
  'query',
  [
    'DELETE FROM t', "INSERT INTO t VALUES (1, '', 1)", 'DROP TABLE t', 'CREATE TABLE u (a)',
    'CREATE TEMP TABLE u (a)', "ATTACH 'FILE' AS u", 'PRAGMA query_only = OFF', 'BEGIN', 'VACUUM',
    "VACUUM INTO 'FILE'", "SELECT load_extension('x')", 'SELECT random()', 'SELECT 1; DROP TABLE t',
    'SELECT 1; SELECT 2', '', '-- nothing', 'no SQL', 'SELECT nothing FROM t', 'SELECT ?',
    'SELECT zeroblob(1000000)', 'SELECT \0', 'EXPLAIN SELECT 1 FROM u',
    f'{ENDLESS} x FROM n LIMIT 101', f'SELECT {"(" * 2000}1{")" * 2000}', 'SELECT ' + ' ' * 100_001,
  ],
)  # fmt: skip
def test_queries_that_are_refused(query, connection, tmp_path):
  with pytest.raises(sql.QueryError) as error:
    sql.run_query(connection, query.replace('FILE', str(tmp_path / 'x')), **LIMITS)
  assert str(error.value) and not error.value.is_late
  assert connection.execute('SELECT COUNT(*) FROM t').fetchone() == (4,)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('what', ['count(*) FROM n', 'x FROM n WHERE x < 0', 'max(x) FROM n'])
def test_endless_queries_end_by_their_steps(what, connection):
  with pytest.raises(sql.QueryError, match='over 100000 steps') as error:
    sql.run_query(connection, ENDLESS + what, **LIMITS)
  assert error.value.is_late
  found = score(ENDLESS + what, 'SELECT 1')
  assert found['timeout'] == 1 and found['reward'] == 0
  assert sql.run_query(connection, 'SELECT COUNT(*) FROM t', **LIMITS).rows == [(4,)]


def test_a_file_is_opened_for_reading(tmp_path):
  file = tmp_path / 'a b?.db'
  made = sqlite3.connect(file)
  made.executescript(SCHEMA + ROWS)
  made.close()
  before = file.read_bytes()
  metadata = {'database': str(file)}
  assert sql.text_to_sql('SELECT a FROM t', 'SELECT a FROM t', metadata)['accuracy'] == 1
  assert sql.text_to_sql('DELETE FROM t', 'SELECT a FROM t', metadata)['execution'] == 0
  assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]
  with pytest.raises(ValueError, match=r'no database .*none.db'):
    sql.text_to_sql('', '', {'database': str(tmp_path / 'none.db')})


def test_what_is_wrong_with_the_data_is_no_reward():
  with pytest.raises(ValueError, match="right query 'SELEC' has no result"):
    score('SELECT 1', 'SELEC')
  with pytest.raises(ValueError, match=r'its schema or its rows are wrong: .*u'):
    score('SELECT 1', 'SELECT 1', rows=('INSERT INTO u VALUES (1)',))
  with pytest.raises(ValueError, match=r"no 'schema' and no 'database' in metadata \['x'\]"):
    sql.text_to_sql('', '', {'x': 1})


def completions(prompts, texts):
  return [
    Completion(prompt=p, tokens=(), text=t, truncated=False, sample_index=i)
    for i, (p, t) in enumerate(zip(prompts, texts))
  ]


# -- tasks


def write_lines(file, records):
  file.write_text('\n'.join(map(json.dumps, records)) + '\n')


def test_text_to_sql_from_jsonl(tmp_path):
  record = dict(question='How\nmany?', schema=SCHEMA, query='SELECT COUNT(*) FROM t', rows=[ROWS])
  made = sqlite3.connect(tmp_path / 'x.db')
  made.executescript(SCHEMA + ROWS)
  made.close()
  of_file = {k: v for k, v in record.items() if k != 'rows'} | {'database': 'x.db'}
  write_lines(tmp_path / 'train.jsonl', [record])
  write_lines(tmp_path / 'test.jsonl', [record, of_file])
  task = tasks.text_to_sql(path=str(tmp_path))
  prompts = [*task.train, *task.test]
  assert prompts[0].text == f'{SCHEMA}\n-- How many?\n'
  chat = tasks.text_to_sql(path=str(tmp_path), chat=True).test[0]
  assert chat.messages[0]['content'] == f'{SCHEMA}\n-- How many?'
  right = [task.demonstrate(p) for p in (*prompts, chat)]
  assert right[-1].startswith('```sql') and all(map(task.well_formed, right))
  assert not task.well_formed('I select nothing') and not task.well_formed('selection')
  with Scorer(task.reward, workers=1) as scorer:
    scores = scorer.score(completions([*prompts, chat, chat], [*right, 'SELECT 3']))
  assert scores.errors == 0 and scores.rewards.tolist() == [1, 1, 1, 1, 0]


def test_text_to_sql_missing_or_broken(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'train.jsonl.*question, schema, query'):
    tasks.text_to_sql(path=str(tmp_path))
  for split in ('train', 'test'):
    write_lines(tmp_path / f'{split}.jsonl', [{'question': 'q', 'schema': ''}])
  with pytest.raises(ValueError, match=r"test.jsonl, record 1: has no 'query'"):
    tasks.text_to_sql(path=str(tmp_path)).test[0]


def test_table_questions_are_answered_by_their_queries():
  task = tasks.table_questions(num_test=200)
  prompts = [*task.test, *task.train[:200]]
  assert {p.answer for p in task.test}.isdisjoint(p.answer for p in task.train[:2000])
  for prompt in prompts:
    query = task.demonstrate(prompt)
    assert sql.text_to_sql(query, prompt.answer, prompt.metadata)['reward'] == 1
    assert task.well_formed(query)
  # A query of another problem is hardly ever right by chance.
  pairs = [(p, q.answer) for p, q in itertools.pairwise(prompts) if p.answer != q.answer]
  right = [sql.text_to_sql(q, p.answer, p.metadata)['accuracy'] for p, q in pairs]
  assert sum(right) <= 0.02 * len(pairs)
  assert tasks.table_questions(num_test=200).train[55] == task.train[55]


def test_each_kind_of_question():
  for kind in QUESTIONS:
    task = tasks.table_questions(questions=(kind,), num_databases=1, num_rows=4)
    answers = {p.answer for p in task.train[:30]}
    assert len(answers) > 5
  with pytest.raises(ValueError, match='there are count, list'):
    tasks.table_questions(questions=('join',))
  with pytest.raises(ValueError, match='num_rows=99'):
    tasks.table_questions(num_rows=99)
