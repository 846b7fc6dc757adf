"""One HTTP request with a limit of time for all of it, and when to send the next. No redirects.

Redirects are not followed: a key would travel with them to another host.
"""

from __future__ import annotations

import email.utils
import http.client
import math
import threading
import time
import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple

_MOST_BYTES = 16 * 2**20


class Response(NamedTuple):
  """Status, headers in lower case, body."""

  status: int
  headers: dict[str, str]
  body: bytes


def post(url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Response:
  """Sends `body` and reads the response.

  Args:
    url: http or https.
    body: bytes of it.
    headers: of the request.
    seconds: of wall-clock time for all of it.

  Raises:
    OSError: no connection, or over the limit of time (TimeoutError).
    HTTPException: what came is no HTTP.
  """
  deadline = time.monotonic() + seconds
  parts = urllib.parse.urlsplit(url)
  kind = http.client.HTTPSConnection if parts.scheme == 'https' else http.client.HTTPConnection
  connection = kind(parts.hostname, parts.port, timeout=seconds)
  try:
    path = parts.path + (f'?{parts.query}' if parts.query else '')
    connection.request('POST', path, body=body, headers=dict(headers))
    connection.sock.settimeout(max(deadline - time.monotonic(), 1e-3))
    sock = connection.sock
    response = connection.getresponse()
    found = bytearray()
    while piece := response.read1(1 << 16):
      found += piece
      left = deadline - time.monotonic()
      if left <= 0:
        raise TimeoutError('timed out')
      if len(found) > _MOST_BYTES:
        raise http.client.HTTPException(f'a response of more than {_MOST_BYTES} bytes')
      if not response.isclosed():
        sock.settimeout(left)
    names = {name.lower(): value for name, value in response.getheaders()}
    return Response(response.status, names, bytes(found))
  finally:
    connection.close()


def retry_after(headers: Mapping[str, str]) -> float | None:
  """Seconds that the server asks to wait; None if it says nothing that can be read."""
  value = headers.get('retry-after', '').strip()
  try:
    seconds = float(value)
  except ValueError:
    try:
      seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError):
      return None
  return max(seconds, 0.0) if math.isfinite(seconds) else None


class Pace:
  """Lets threads pass one after the other, so many a minute.

  Args:
    per_minute: requests; 0 = as fast as they come.
  """

  def __init__(self, per_minute: float) -> None:
    self._step = 60 / per_minute if per_minute else 0.0
    self._next = 0.0
    self._lock = threading.Lock()

  def wait(self) -> None:
    """Returns when it is this thread's turn."""
    with self._lock:
      turn = max(self._next, time.monotonic())
      self._next = turn + self._step
    time.sleep(max(turn - time.monotonic(), 0.0))

  def hold(self, seconds: float) -> None:
    """Lets nobody pass for so long: the server asked for it."""
    with self._lock:
      self._next = max(self._next, time.monotonic() + seconds)
