"""The harness's side of the conversation with a peer: see peers/serve.py."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

from speed.shapes import Work

PROGRAMS = pathlib.Path(__file__).resolve().parent / 'peers'


class PeerError(RuntimeError):
  """A peer ended before it answered; the message holds the end of its log."""


class Peer:
  """A program in an environment of its own that stays and makes one run a request.

  Attributes:
    about: what it said of itself at the start: parameters, versions.
  """

  def __init__(
    self, python: str, program: str, work: Work, log: pathlib.Path, **options: Any
  ):
    threads = len(os.sched_getaffinity(0))
    environment = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
    environment |= {'PYTHONPATH': '', 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}
    self._log = log
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w') as file:
      self._process = subprocess.Popen(
        [python, str(PROGRAMS / f'{program}.py')],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, env=environment,
      )  # fmt: skip
    said = {**work.as_json(), 'prompts': work.prompt_ids(), 'threads': threads, 'device': 'cpu'}
    self.about = self._ask(json.dumps({**said, **options}))

  def __call__(self) -> dict[str, Any]:
    return self._ask('run')

  def _ask(self, line: str) -> dict[str, Any]:
    try:
      self._process.stdin.write(line + '\n')
      self._process.stdin.flush()
      answer = self._process.stdout.readline()
    except BrokenPipeError:
      answer = ''
    if not answer:
      self._process.wait()
      last = self._log.read_text().splitlines()[-12:]
      raise PeerError(f'{self._process.args[1]} ended:\n' + '\n'.join(last))
    return json.loads(answer)

  def close(self) -> None:
    """Ends it: it leaves at the end of its input."""
    self._process.stdin.close()
    try:
      self._process.wait(timeout=20)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    self._process.stdout.close()
