"""Programs compiled ahead of their first run: how long that takes and what memory they need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

MIB = 2**20
made: dict[str, dict[str, Any]] = {}  # of all programs of this process, by name


class Program:
  """A compiled function with its record.

  Attributes:
    compiled: call it, or read its `as_text` and `memory_analysis`.
    record: seconds of tracing and of compiling, MiB of arguments, results and temporaries, and of
      what the results share with donated arguments.
  """

  def __init__(self, name: str, function: Callable, *args: Any, donate: tuple[int, ...] = ()):
    started = time.perf_counter()
    lowered = jax.jit(function, donate_argnums=donate).lower(*args)
    traced = time.perf_counter()
    self.name, self.compiled = name, lowered.compile()
    compiled = time.perf_counter()
    self.record = {
      'trace_seconds': traced - started,
      'compile_seconds': compiled - traced,
      **memory(self.compiled),
    }
    made[name] = self.record

  def __call__(self, *args: Any) -> Any:
    return self.compiled(*args)


def memory(compiled: Any) -> dict[str, float]:
  """MiB by kind, as XLA planned them; {} where a backend does not say."""
  stats = compiled.memory_analysis()
  if stats is None:
    return {}
  sizes = {
    'arguments_mib': stats.argument_size_in_bytes,
    'results_mib': stats.output_size_in_bytes,
    'shared_mib': stats.alias_size_in_bytes,
    'temporaries_mib': stats.temp_size_in_bytes,
  }
  found = {name: size / MIB for name, size in sizes.items()}
  total = sizes['arguments_mib'] + sizes['results_mib'] + sizes['temporaries_mib']
  return {**found, 'peak_mib': (total - sizes['shared_mib']) / MIB}
