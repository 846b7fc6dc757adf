"""Chat templates: other people's code, rendered in a sandbox in a process of its own."""

from __future__ import annotations

import datetime
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

from rljax.tokenization.protocol import TokenizerError

_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'template_worker.py')
MAX_TEMPLATE = 2**20  # characters
MAX_TEXT = 2**24  # characters of a rendered conversation
MEMORY_MIB = 1024
SECONDS = 20.0  # of one rendering, which takes milliseconds
_GRACE_SECONDS = 40.0  # the timer of the process itself comes first; it has to start, too


class ChatTemplate:
  """A function from the template's variables to text.

  What a template may do is bounded by jinja2's immutable sandbox (no attribute that leads out of
  it, no change of what it is given, no file, no other template) and by its process (`SECONDS`,
  `MEMORY_MIB`, no environment variables). The process starts with the first rendering and is not
  one that could not be got out of: the sandbox is what keeps a template from running code.

  Args:
    template: jinja2.
    today: what it sees as the date.
  """

  def __init__(self, template: str, today: datetime.date) -> None:
    if not isinstance(template, str) or len(template) > MAX_TEMPLATE:
      size = f'{len(template)} characters' if isinstance(template, str) else type(template).__name__
      raise TokenizerError(f'the chat template is {size}; a text of at most {MAX_TEMPLATE} is read')
    self._setup = {
      'template': template,
      'today': today.isoformat(),
      'characters': MAX_TEXT,
      'memory_mib': MEMORY_MIB,
      'seconds': SECONDS,
    }
    self._popen: subprocess.Popen | None = None
    self._lock = threading.Lock()

  def __call__(self, **variables: Any) -> str:
    """The text of a conversation.

    Raises:
      TokenizerError: the template does not compile, fails, refuses these messages, or is over a
        bound of time, memory or length; or the variables are no JSON.
    """
    try:
      line = json.dumps(variables)
    except (TypeError, ValueError, RecursionError) as error:
      raise TokenizerError(f'chat messages must be of JSON types: {error}') from None
    with self._lock:
      self._start()
      answer = self._ask(line, 'the chat template')
    if 'refused' in answer:
      raise TokenizerError(f'the chat template refuses these messages: {answer["refused"]}')
    if 'error' in answer:
      raise TokenizerError(f'the chat template fails: {answer["error"]}')
    return answer['text']

  def _start(self) -> None:
    if self._popen is not None:
      return
    kept = ('LD_LIBRARY_PATH', 'TZ')
    self._popen = subprocess.Popen(
      [sys.executable, '-S', '-E', '-B', _SCRIPT],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      bufsize=0,
      start_new_session=True,
      env={'PYTHONHASHSEED': '0', **{k: os.environ[k] for k in kept if k in os.environ}},
    )
    weakref.finalize(self, _end, self._popen)
    answer = self._ask(json.dumps({'path': sys.path, **self._setup}), 'compiling the chat template')
    if 'error' in answer:
      self._stop()
      raise TokenizerError(f'the chat template does not compile: {answer["error"]}')

  def _ask(self, line: str, what: str) -> dict[str, Any]:
    """The answer to a line; a process that gives none is ended."""
    deadline, data = time.monotonic() + SECONDS + _GRACE_SECONDS, b''
    try:
      view = memoryview(line.encode() + b'\n')
      while view:
        view = view[self._popen.stdin.write(view) :]
      with selectors.DefaultSelector() as selector:
        selector.register(self._popen.stdout, selectors.EVENT_READ)
        while not data.endswith(b'\n'):
          late = not selector.select(max(0.0, deadline - time.monotonic()))
          piece = b'' if late else os.read(self._popen.stdout.fileno(), 1 << 20)
          if not piece:
            break
          data += piece
    except BrokenPipeError:
      pass
    if data.endswith(b'\n'):
      return json.loads(data)
    code = self._stop()
    why = f'takes more than {SECONDS:g} s' if code == -signal.SIGALRM else f'ends with code {code}'
    raise TokenizerError(f'{what} {why}; it may use {SECONDS:g} s and {MEMORY_MIB} MiB')

  def _stop(self) -> int:
    popen, self._popen = self._popen, None
    return _end(popen)


def _end(popen: subprocess.Popen) -> int:
  """Ends a process that waits for a line, or that has ended or hangs: its exit code."""
  popen.stdin.close()
  try:
    popen.wait(1.0)
  except subprocess.TimeoutExpired:
    popen.kill()
  popen.stdout.close()
  return popen.wait()
