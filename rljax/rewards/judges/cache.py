"""Replies on disk, so that a request that was paid for is not sent again."""

from __future__ import annotations

import os
import sqlite3
import threading


class Cache:
  """A table of key → reply in a file that several processes may share.

  Args:
    path: of a local file; made, with its folders, if it is not there.

  Raises:
    ValueError: a remote path.
  """

  def __init__(self, path: str) -> None:
    if '://' in path:
      raise ValueError(f'cache {path!r}: must be a local file')
    path = os.path.abspath(os.path.expanduser(path))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    self._lock = threading.Lock()
    self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
    with self._connection:
      columns = 'key TEXT PRIMARY KEY, text TEXT NOT NULL'
      self._connection.execute(f'CREATE TABLE IF NOT EXISTS replies ({columns})')

  def get(self, key: str) -> str | None:
    """The reply, or None."""
    with self._lock:
      query = 'SELECT text FROM replies WHERE key = ?'
      row = self._connection.execute(query, (key,)).fetchone()
    return row[0] if row else None

  def put(self, key: str, text: str) -> None:
    """Keeps a reply; it is on disk when this returns."""
    with self._lock, self._connection:
      self._connection.execute('INSERT OR REPLACE INTO replies VALUES (?, ?)', (key, text))
