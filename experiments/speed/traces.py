"""Where the time of a program goes: seconds of each instruction in one traced run."""

from __future__ import annotations

import collections
import glob
import tempfile
from collections.abc import Callable, Collection
from typing import Any

import jax

from speed import hlo

# What only waits for others, or holds them, in a trace of a CPU.
HOLDERS = ('ThunkExecutor', 'while', 'call', 'conditional', 'SlinkyThreadPool', 'Thunk')


def trace(run: Callable[[], Any]) -> dict[str, tuple[int, float]]:
  """Instruction -> (calls, seconds) of one run; of the devices' own lines where there are any."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      jax.block_until_ready(run())
    path = sorted(glob.glob(f'{folder}/**/*.xplane.pb', recursive=True))[-1]
    data = jax.profiler.ProfileData.from_file(path)
  planes = list(data.planes)
  devices = [p for p in planes if p.name.startswith('/device:') and 'CUSTOM' not in p.name]
  calls, seconds = collections.Counter(), collections.Counter()
  for plane in devices or planes:
    for line in plane.lines:
      if line.name == 'python':
        continue
      for event in line.events:
        name = _instruction(event) if devices else event.name
        calls[name] += 1
        seconds[name] += event.duration_ns * 1e-9
  return {name: (calls[name], seconds[name]) for name in calls}


def _instruction(event) -> str:
  """The HLO instruction of a kernel, or the kernel's own name."""
  stats = dict(event.stats)
  return str(stats.get('hlo_op', event.name))


def by_product(
  text: str, seen: dict[str, tuple[int, float]]
) -> dict[hlo.Product, dict[str, float]]:
  """Product -> calls and seconds in the traced run; products of one size are added up."""
  found: dict[hlo.Product, dict[str, float]] = {}
  for name, made in hlo.products(text).items():
    if name not in seen:
      continue
    calls, seconds = seen[name]
    total = sum(product.flops for product in made)
    for product in made:  # an instruction with several: by their operations
      entry = found.setdefault(product, {'calls': 0, 'seconds': 0.0})
      entry['calls'] += calls
      entry['seconds'] += seconds * product.flops / total
  return found


def longest(
  seen: dict[str, tuple[int, float]], count: int = 10, *, without: Collection[str] = ()
) -> list[dict]:
  """The instructions that took longest, but for those that hold others and those named."""
  own = {n: x for n, x in seen.items() if not n.startswith(HOLDERS) and n not in without}
  order = sorted(own, key=lambda name: -own[name][1])[:count]
  return [{'name': n, 'calls': own[n][0], 'seconds': own[n][1]} for n in order]
