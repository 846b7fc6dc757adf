"""What was compiled in this process, and how long it took."""

from __future__ import annotations

import collections
import threading
from typing import Any

BACKEND_COMPILE = '/jax/core/compile/backend_compile_duration'


class CompileWatch:
  """Counts compilations from its start to its stop; jax reports each one.

  A program found in the persistent cache counts too, with the time it took to load.

  Attributes:
    seconds: in XLA's compiler, all programs together.
    counts: name of the jitted function -> programs compiled; small operations outside jit (such as
      `jit(add)`) stand here too.
  """

  def __init__(self) -> None:
    self.seconds = 0.0
    self.counts: collections.Counter[str] = collections.Counter()
    self._lock = threading.Lock()  # jax may compile in other threads

  def __enter__(self) -> CompileWatch:
    return self.start()

  def __exit__(self, *_: object) -> None:
    self.stop()

  def start(self) -> CompileWatch:
    import jax

    jax.monitoring.register_event_duration_secs_listener(self._listen)
    return self

  def stop(self) -> None:
    import jax

    jax.monitoring.unregister_event_duration_listener(self._listen)

  def _listen(self, event: str, seconds: float, **details: Any) -> None:
    if event != BACKEND_COMPILE:
      return
    name = str(details.get('fun_name', 'unknown'))
    with self._lock:
      self.seconds += seconds
      self.counts[name.removeprefix('jit(').removesuffix(')')] += 1
