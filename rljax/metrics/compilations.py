"""What was compiled in this process, how long it took, and a word while it does."""

from __future__ import annotations

import collections
import threading
import time
from typing import Any

from rljax import hosts
from rljax.metrics.console import duration

BACKEND_COMPILE = '/jax/core/compile/backend_compile_duration'
AGAIN_SECONDS = 30.0  # between two words about one program
LOOK_SECONDS = 0.5  # between two looks at the clock


class CompileWatch:
  """Counts compilations from its start to its stop; jax reports each one.

  A program found in the persistent cache counts too, with the time it took to load.

  Args:
    patience: seconds after which the first host prints that a program compiles, again from time to
      time, and when it is done; None: never.

  Attributes:
    seconds: in XLA's compiler, all programs together.
    counts: name of the jitted function -> programs compiled; small operations outside jit (such as
      `jit(add)`) stand here too.
  """

  def __init__(self, patience: float | None = None) -> None:
    self.seconds = 0.0
    self.counts: collections.Counter[str] = collections.Counter()
    self._lock = threading.Lock()  # jax may compile in other threads
    self._patience = patience if patience is None or hosts.is_first() else None
    # Thread → program, begin, when it is told next, whether it has been told.
    self._begun: dict[int, list[Any]] = {}
    self._ended = threading.Event()

  def __enter__(self) -> CompileWatch:
    return self.start()

  def __exit__(self, *_: object) -> None:
    self.stop()

  def start(self) -> CompileWatch:
    import jax

    jax.monitoring.register_event_duration_secs_listener(self._listen)
    if self._patience is not None:
      jax.monitoring.register_scalar_listener(self._begin)
      self._ended.clear()
      threading.Thread(target=self._watch, args=(self._patience,), daemon=True).start()
    return self

  def stop(self) -> None:
    import jax

    jax.monitoring.unregister_event_duration_listener(self._listen)
    if self._patience is not None:
      self._ended.set()
      jax.monitoring.unregister_scalar_listener(self._begin)

  def _listen(self, event: str, seconds: float, **details: Any) -> None:
    if event != BACKEND_COMPILE:
      return
    name = _name(details)
    with self._lock:
      self.seconds += seconds
      self.counts[name] += 1
      *_, was_told = self._begun.pop(threading.get_ident(), (False,))
    if was_told:
      print(f'compiled {name} in {duration(seconds)}', flush=True)

  def _begin(self, event: str, value: float, **details: Any) -> None:
    if event == BACKEND_COMPILE:
      now = time.monotonic()
      with self._lock:
        self._begun[threading.get_ident()] = [_name(details), now, now + self._patience, False]

  def _watch(self, patience: float) -> None:
    """Tells of programs that have been compiling for long."""
    while not self._ended.wait(min(LOOK_SECONDS, patience)):
      now = time.monotonic()
      with self._lock:
        late = [entry for entry in self._begun.values() if entry[2] <= now]
        for entry in late:
          entry[2:] = now + AGAIN_SECONDS, True
      for name, begin, *_ in late:
        print(f'compiling {name}: {duration(now - begin)} so far', flush=True)


def _name(details: dict[str, Any]) -> str:
  name = str(details.get('fun_name', 'unknown'))
  return name.removeprefix('jit(').removesuffix(')')
