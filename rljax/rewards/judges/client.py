"""A client for servers that speak OpenAI's chat completions."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import http.client
import json
import os
import random
import re
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rljax import redaction
from rljax.rewards import calls
from rljax.rewards.judges import transport
from rljax.rewards.judges.cache import Cache
from rljax.rewards.judges.conversation import Conversation, Reply

_AGAIN = (408, 425, 429, 500, 502, 503, 504, 529)  # statuses that another try may not have


@dataclasses.dataclass
class Usage:
  """What a client has done so far.

  Attributes:
    requests: sent, tries included.
    retries: of these, tries after the first.
    cached: conversations answered from the cache.
    failures: conversations that got no reply.
    prompt_tokens, completion_tokens: as the server counts them.
    cost: in the unit of the prices.
  """

  requests: int = 0
  retries: int = 0
  cached: int = 0
  failures: int = 0
  prompt_tokens: int = 0
  completion_tokens: int = 0
  cost: float = 0.0


class _Failure(Exception):
  def __init__(self, message: str, again: bool, wait: float | None = None) -> None:
    super().__init__(message)
    self.again, self.wait = again, wait


class Client:
  """Sends conversations side by side and gives a `Reply` to each, whatever happens to it.

  What fails for a while (no connection, over the time limit, status 408, 425, 429 or 5xx, an answer
  that is none) is tried again after backoff_seconds·2^try, ± a half by chance, or after what the
  server asks for. Redirects are refused. Calls may come from several threads; the limits are of
  this object, so of one process.

  Args:
    base_url: such as 'https://api.openai.com/v1'; '/chat/completions' is put behind it.
    model: its name on the server.
    key_variable: the environment variable that holds the API key; '' = no key. The key is read
      when a request is sent and is kept nowhere.
    temperature: of the judge; above 0, equal conversations of one call get replies of their own.
    max_tokens: of a reply.
    options: further fields of the request.
    concurrency: requests under way at once.
    requests_per_minute: at most; 0 = no such limit.
    timeout_seconds: of wall-clock time for one try.
    retries: tries after the first.
    backoff_seconds: before the second try.
    longest_wait_seconds: between two tries, whatever the server asks for.
    cache: a local file that keeps replies by request; '' = none.
    input_price, output_price: of a million tokens, in any unit.

  Raises:
    ValueError: a limit or an address that is none, or no such environment variable.
  """

  def __init__(
    self,
    *,
    base_url: str,
    model: str,
    key_variable: str = '',
    temperature: float = 0.0,
    max_tokens: int = 1024,
    options: Mapping[str, Any] | None = None,
    concurrency: int = 8,
    requests_per_minute: float = 0.0,
    timeout_seconds: float = 60.0,
    retries: int = 4,
    backoff_seconds: float = 0.5,
    longest_wait_seconds: float = 60.0,
    cache: str = '',
    input_price: float = 0.0,
    output_price: float = 0.0,
  ) -> None:
    _check_address(base_url, key_variable)
    redaction.hide(key_variable)
    limits = dict(concurrency=concurrency, timeout_seconds=timeout_seconds, max_tokens=max_tokens)
    others = dict(retries=retries, backoff_seconds=backoff_seconds,
                  requests_per_minute=requests_per_minute)
    if min(limits.values()) <= 0 or min(others.values()) < 0:
      raise ValueError(f'client: {limits} must be > 0 and {others} ≥ 0')
    self._url = base_url.rstrip('/') + '/chat/completions'
    self._key_variable = key_variable
    self._fields = {
      'model': model,
      'temperature': temperature,
      'max_tokens': max_tokens,
      **(options or {}),
    }
    self._concurrency = concurrency
    self._timeout_seconds = timeout_seconds
    self._retries, self._backoff_seconds = retries, backoff_seconds
    self._longest_wait_seconds = longest_wait_seconds
    self._prices = (input_price * 1e-6, output_price * 1e-6)
    self._pace = transport.Pace(requests_per_minute)
    self._cache = Cache(cache) if cache else None
    self._lock = threading.Lock()
    self._random = random.Random()  # of its own: that of a reward is seeded for each call
    self.usage = Usage()

  def __call__(self, conversations: Sequence[Conversation]) -> list[Reply]:
    """A reply to each conversation, in their order."""
    seen: Counter[str] = Counter()
    given = []
    for conversation in conversations:
      body = json.dumps({**self._fields, 'messages': list(map(dict, conversation))})
      given.append((body, seen[body]))
      seen[body] += 1
    pool = concurrent.futures.ThreadPoolExecutor(max(min(self._concurrency, len(given)), 1))
    try:
      replies = []
      for reply in pool.map(lambda one: self._reply(*one), given):
        replies.append(reply)
        calls.progress()
      return replies
    finally:
      pool.shutdown(cancel_futures=True)

  def _reply(self, body: str, copy: int) -> Reply:
    key = hashlib.sha256(f'{self._url}\n{copy}\n{body}'.encode()).hexdigest()
    text = self._cache.get(key) if self._cache else None
    if text is not None:
      self._count(cached=1)
      return Reply(text, cached=True)
    for number in range(self._retries + 1):
      self._pace.wait()
      self._count(requests=1, retries=int(number > 0))
      try:
        reply = self._try(body.encode())
      except _Failure as error:
        if not error.again or number == self._retries:
          self._count(failures=1)
          tries = f' ({number + 1} tries)' if number else ''
          return Reply('', error=f'{error}{tries}')
        self._sleep(number, error.wait)
        continue
      if self._cache:
        self._cache.put(key, reply.text)
      return reply

  def _sleep(self, number: int, asked: float | None) -> None:
    if asked is not None:  # everybody waits: the server speaks of this client, not of a request
      self._pace.hold(min(asked, self._longest_wait_seconds))
      return
    wait = self._backoff_seconds * 2**number * self._random.uniform(0.5, 1.5)
    time.sleep(min(wait, self._longest_wait_seconds))

  def _try(self, body: bytes) -> Reply:
    key = os.environ.get(self._key_variable, '').strip() if self._key_variable else ''
    if not re.fullmatch('[!-~]*', key):  # http.client would put it into its message
      raise _Failure(f'the key in {self._key_variable} has characters that no header holds', False)
    headers = {'Content-Type': 'application/json', 'Accept': 'application/json'}
    if key:
      headers['Authorization'] = f'Bearer {key}'
    try:
      response = transport.post(self._url, body, headers, self._timeout_seconds)
    except TimeoutError:
      raise _Failure(f'no answer within {self._timeout_seconds} s', True) from None
    except (OSError, http.client.HTTPException) as error:
      raise _Failure(f'{type(error).__name__}: {error}'[:200], True) from None
    if response.status != 200:
      said = ' '.join(response.body.decode('utf-8', 'replace').split())
      said = said.replace(key, '…') if key else said  # some servers say it back
      again = response.status in _AGAIN
      raise _Failure(
        f'status {response.status}: {said[:150]}', again, transport.retry_after(response.headers)
      )
    return self._read(response.body)

  def _read(self, body: bytes) -> Reply:
    try:
      found = json.loads(body)
      text = found['choices'][0]['message']['content']
      usage = found.get('usage') or {}
      tokens = [int(usage.get(name) or 0) for name in ('prompt_tokens', 'completion_tokens')]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
      raise _Failure(f'an answer that is none ({type(error).__name__})', True) from None
    cost = sum(price * number for price, number in zip(self._prices, tokens))
    self._count(prompt_tokens=tokens[0], completion_tokens=tokens[1], cost=cost)
    if not isinstance(text, str) or not text.strip():
      reason = found['choices'][0].get('finish_reason')
      raise _Failure(f'an answer without text (finish_reason {reason!r})', False)
    return Reply(text, '', *tokens, cost)

  def _count(self, **more: float) -> None:
    with self._lock:
      for name, number in more.items():
        setattr(self.usage, name, getattr(self.usage, name) + number)


def _check_address(base_url: str, key_variable: str) -> None:
  parts = urllib.parse.urlsplit(base_url)
  if parts.scheme not in ('http', 'https') or not parts.hostname or '@' in parts.netloc:
    raise ValueError('client: base_url must be http(s)://host…, without a user or a password')
  if key_variable and not re.fullmatch(r'[A-Za-z_][A-Za-z0-9_]*', key_variable):
    # What stands there may be the key itself: it is not repeated.
    raise ValueError('client: key_variable must be the name of an environment variable')
  if key_variable and not os.environ.get(key_variable):
    raise ValueError(f'client: the environment variable {key_variable} is not set')
