"""How much of the right result a query finds: cells, and the number of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rljax.rewards import sql


def table_overlap(
  completion: str,
  answer: str,
  metadata: Mapping[str, Any],
  *,
  accuracy: float = 0.0,
  max_steps: int = 2_000_000,
  max_rows: int = 10_000,
) -> dict[str, float]:
  """(1 − a)·(cell precision + cell recall + row cardinality)/3 + a·execution accuracy.

  Cell precision is the share of the query's cells that stand in the right result (with their
  repetitions), recall the share of the right cells that it finds, cardinality the smaller number of
  rows over the larger. A query without a result earns 0.

  Args:
    completion, answer, metadata, max_steps, max_rows: as in `sql.text_to_sql`.
    accuracy: a, weight of 1 if the results are equal, else 0.

  Returns:
    'reward' and the components 'accuracy', 'cell_precision', 'cell_recall' and 'cardinality'; with
    several databases means, of accuracy the least.

  Raises:
    ValueError: as `sql.text_to_sql`, or a weight outside of [0, 1].

  Source: Think2SQL: Reinforce LLM Reasoning Capabilities for Text2SQL (2025), after the metrics of
    QATCH.
  Differs from the source: formula not confirmed against the paper.
  """
  if not 0 <= accuracy <= 1:
    raise ValueError(f'accuracy={accuracy}; it is a weight between 0 and 1')
  limits = {'max_steps': max_steps, 'max_rows': max_rows}
  whole = sql.text_to_sql(completion, answer, metadata, **limits)
  query, found = sql.extract_query(completion), []
  for connection in sql.databases(metadata):
    try:
      wanted = sql.run_query(connection, answer, **limits)
      found.append(_overlap(sql.run_query(connection, query, **limits), wanted))
    except sql.QueryError:  # of the completion: `text_to_sql` has run the right one
      found.append((0.0, 0.0, 0.0))
    finally:
      connection.close()
  precision, recall, cardinality = (sum(part) / len(found) for part in zip(*found))
  graded = (precision + recall + cardinality) / 3
  return {
    'reward': (1 - accuracy) * graded + accuracy * whole['accuracy'],
    'accuracy': whole['accuracy'],
    'cell_precision': precision,
    'cell_recall': recall,
    'cardinality': cardinality,
  }


def _overlap(given: sql.Table, wanted: sql.Table) -> tuple[float, float, float]:
  """(cell precision, cell recall, cardinality); two empty results are equal."""
  cells = [Counter(sql.key(v) for row in table.rows for v in row) for table in (given, wanted)]
  common = (cells[0] & cells[1]).total()
  rows = sorted((len(given.rows), len(wanted.rows)))
  return (
    _share(common, cells[0].total(), rows),
    _share(common, cells[1].total(), rows),
    rows[0] / rows[1] if rows[1] else 1.0,
  )


def _share(part: int, whole: int, rows: list[int]) -> float:
  return part / whole if whole else float(rows[1] == 0)
