"""Several hosts that run one program: how they start, and what they tell each other.

Every process runs the same Python in the same order: prompts, draws and decisions are the same
everywhere. What only one of them knows (rewards, lengths) is exchanged here, by the key-value store
of jax's coordinator: no device takes part, and who does not come is named. In one process all
functions give back what they are given.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import socket
import sys
import threading
import time
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_SLICE = 1.0  # seconds between two looks at whether the others live
_GRACE = 30.0  # seconds in which a process may end by itself when another has ended
_PATIENCE = 6.0  # seconds in which it shows whether a failed program was another's fault
_FLAGS = ('coordinator', 'num_processes', 'process_id')
_NUMBERS = itertools.count()  # of the meetings of a process; the same on all
_ALONE = types.SimpleNamespace(process_id=0, num_processes=1)
_meeting: _Meeting | None = None


class HostError(RuntimeError):
  """Another host has stopped, or does not come; the message names it."""


def start(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  *,
  on_tpu: bool = False,
) -> None:
  """Joins the processes of a run; to be called before jax looks at its devices.

  Args:
    coordinator: host:port of process 0; with the two others, for machines that say nothing.
    num_processes, process_id: of the run, and this one among them.
    on_tpu: whether there are TPUs here; then, and in a step of SLURM, jax finds the others.

  Raises:
    ValueError: some of the three are missing.
    HostError: not all processes have come.
  """
  given = dict(zip(_FLAGS, (coordinator, num_processes, process_id)))
  missing = [f'--{name}' for name, value in given.items() if value is None]
  if len(missing) not in (0, len(given)):
    raise ValueError(f'several processes need {", ".join(missing)} too, or none of the three flags')
  arguments: dict[str, Any] = {'shutdown_timeout_seconds': 60}
  if not missing:
    arguments |= dict(coordinator_address=coordinator, num_processes=num_processes)
    arguments |= dict(process_id=process_id, cluster_detection_method='deactivate')
  elif not _in_slurm() and (not on_tpu or os.environ.get('JAX_PLATFORMS') == 'cpu'):
    return
  import jax

  jax.config.update('jax_enable_preemption_service', False)  # it makes processes outlive SIGTERM
  try:
    jax.distributed.initialize(**arguments)
  except (RuntimeError, ValueError, OSError) as error:
    if not missing or _in_slurm():
      raise HostError(f'the processes of the run have not met: {error}') from error
    # TPUs of which jax finds no others: that there are some is noticed with the mesh.
    print(f'one host, as far as is known ({" ".join(str(error).split())})', flush=True)


def _in_slurm() -> bool:
  known = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID')
  if not all(name in os.environ for name in known):
    return False
  return int(os.environ.get('SLURM_STEP_NUM_TASKS', os.environ['SLURM_NTASKS'])) > 1


def count() -> int:
  """Processes of the run."""
  return _state().num_processes


def is_first() -> bool:
  """Whether this process writes what is written once."""
  return _state().process_id == 0


def _state() -> Any:
  if 'jax' not in sys.modules:  # which takes a second; nobody can have joined without it
    return _ALONE
  from jax._src import distributed  # there is no public way to the key-value store

  return distributed.global_state


@contextlib.contextmanager
def together(seconds: float = 900.0, silence: float = 60.0) -> Iterator[None]:
  """In this block the processes may meet; only the first prints.

  A process that leaves the block by an exception tells the others, which then raise HostError. One
  that is held up in a program of the devices ends. Within another such block it sets the bounds.

  Args:
    seconds: that a process waits for another at a meeting.
    silence: seconds without a sign of life after which a process counts as gone.
  """
  global _meeting
  if _meeting is not None:
    _meeting.seconds, _meeting.silence = seconds, silence
  if count() == 1 or _meeting is not None:
    yield
    return
  _meeting = _Meeting(seconds, silence)
  quiet = contextlib.nullcontext() if is_first() else contextlib.redirect_stdout(_Nowhere())
  try:
    with quiet:
      _meeting.begin()
      yield
      meet('the end')
  except BaseException as error:
    if _is_of_jax(error) and (trouble := _meeting.trouble()):
      raise HostError(f'{trouble} (seen in a program of the devices)') from error
    _meeting.tell(f'{type(error).__name__}: {error}' if str(error) else type(error).__name__)
    raise
  finally:
    _meeting.close()
    _meeting = None


def exchange(arrays: Mapping[str, Any], what: str) -> list[dict[str, np.ndarray]]:
  """What each process hands in, in their order: kilobytes, on the host.

  Args:
    arrays: of numbers or text, by name.
    what: names the meeting in errors; the same on all processes.

  Raises:
    HostError: a process has stopped, is late, or is somewhere else in the program.
  """
  own = {name: np.asarray(x) for name, x in arrays.items()}
  if count() == 1:
    return [own]
  if _meeting is None:
    raise RuntimeError(f'{what}: processes meet within hosts.together() only')
  return _meeting.exchange(own, what)


def meet(what: str) -> None:
  """Returns when all processes are here: before a program in which their devices meet."""
  exchange({}, what)


def total(value: Any, what: str) -> np.ndarray:
  """The sum of a number or an array over the processes."""
  return np.sum([part['value'] for part in exchange({'value': value}, what)], axis=0)


def agree(value: Any, what: str) -> Any:
  """The first process's value, of JSON's types, on all of them."""
  if count() == 1:
    return value
  return json.loads(str(exchange({'value': json.dumps(value)}, what)[0]['value']))


def abandon(status: int) -> None:
  """Ends this process without waiting for the others, of which some may be gone."""
  sys.stdout.flush()
  sys.stderr.flush()
  if is_first():  # it keeps what the others have still to read
    time.sleep(3 * _SLICE)
  os._exit(status)


def _is_of_jax(error: BaseException) -> bool:
  import jax

  return isinstance(error, jax.errors.JaxRuntimeError)


class _Meeting:
  """The place where processes meet, and a thread that watches whether they live."""

  def __init__(self, seconds: float, silence: float):
    state = _state()
    self._client, self._me, self._count = state.client, state.process_id, state.num_processes
    self._place, self._number = f'rljax/{next(_NUMBERS)}', 0
    self.seconds, self.silence = seconds, silence
    self._names = [f'process {p}' for p in range(self._count)]
    self._trouble, self._seen = '', {}
    self._closed = threading.Event()
    self._thread = threading.Thread(target=self._watch, name='hosts-watch', daemon=True)

  def begin(self) -> None:
    self._thread.start()
    found = self.exchange({'name': np.asarray(socket.gethostname())}, 'the start')
    self._names = [f'process {p} on {part["name"]}' for p, part in enumerate(found)]

  def close(self) -> None:
    self._closed.set()
    self._thread.join()

  def tell(self, message: str) -> None:
    """Lets the others know that this process stops."""
    if not self._trouble:
      with contextlib.suppress(RuntimeError):
        self._client.key_value_set(f'{self._place}/stopped/{self._me}', message)

  def exchange(self, arrays: dict[str, np.ndarray], what: str) -> list[dict[str, np.ndarray]]:
    self._number += 1
    key = f'{self._place}/{self._number}'
    content = io.BytesIO()
    np.savez(content, **{'': np.asarray(what)}, **arrays)
    self._client.key_value_set_bytes(f'{key}/{self._me}', content.getvalue())
    until, found = time.monotonic() + self.seconds, []
    for process in range(self._count):
      data = self._wait(f'{key}/{process}', process, until, what)
      with np.load(io.BytesIO(data), allow_pickle=False) as parts:
        found.append({name: parts[name] for name in parts.files})
      if (other := str(found[-1].pop(''))) != what:
        raise HostError(f'{self._names[process]} is at {other!r}, and this process at {what!r}')
    # All have come here, so all have read what was said before.
    if self._number > 1:
      self._client.key_value_delete(f'{self._place}/{self._number - 1}/{self._me}')
    return found

  def _wait(self, key: str, process: int, until: float, what: str) -> bytes:
    """What a process has said, within the bound."""
    while True:
      try:
        return self._client.blocking_key_value_get_bytes(key, int(1000 * _SLICE))
      except RuntimeError as error:
        if 'DEADLINE_EXCEEDED' not in str(error):
          self._trouble = f'{self._names[0]} cannot be reached any more'
      if self._trouble:
        raise HostError(f'{self._trouble} (seen at {what})')
      if time.monotonic() > until:
        raise HostError(
          f'{what}: {self._names[process]} has not come within {self.seconds:.0f} s'
        )

  def trouble(self) -> str:
    """What is wrong with the others, if anything: they give a sign every second."""
    time.sleep(_PATIENCE)
    now = time.monotonic()
    silent = [p for p, (_, since) in self._seen.items() if now - since > _PATIENCE - _SLICE]
    if not self._trouble and silent:
      self._trouble = f'{self._names[silent[0]]} gives no sign of life any more'
    return self._trouble

  def _watch(self) -> None:
    """Gives signs of life and looks for those of the others, until the meeting is closed."""
    others = [p for p in range(self._count) if p != self._me]
    seen = self._seen = {p: ('', time.monotonic()) for p in others}
    troubled = 0.0
    for number in itertools.count():
      if self._closed.wait(_SLICE):
        return
      self._trouble = self._trouble or self._look(number, seen)
      troubled += _SLICE * bool(self._trouble)
      if troubled > _GRACE:
        # It waits for devices, and there no exception reaches it.
        print(f'rljax: {self._trouble}; this process ends', file=sys.stderr, flush=True)
        os._exit(1)

  def _look(self, number: int, seen: dict[int, tuple[str, float]]) -> str:
    """What is wrong with the others, if anything."""
    client, now = self._client, time.monotonic()
    try:
      client.key_value_set(f'{self._place}/sign/{self._me}', str(number), allow_overwrite=True)
      signs = dict(client.key_value_dir_get(f'{self._place}/sign/'))
      stopped = client.key_value_dir_get(f'{self._place}/stopped/')
    except RuntimeError:
      return f'{self._names[0]} cannot be reached any more'
    for key, message in stopped:
      process = int(key.rpartition('/')[2])
      if process != self._me:
        return f'{self._names[process]} has stopped: {message}'
    for process, (sign, since) in seen.items():
      latest = signs.get(f'{self._place}/sign/{process}', '')
      if latest != sign:
        seen[process] = (latest, now)
      elif now - since > self.silence:
        return f'{self._names[process]} has given no sign of life for {self.silence:.0f} s'
    return ''


class _Nowhere(io.TextIOBase):
  """Takes what is printed and keeps nothing."""

  def write(self, text: str) -> int:
    return len(text)
