"""Contestants that take turns, and what is said of their seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Run = Callable[[], dict[str, Any]]


def interleave(
  contestants: Mapping[str, Run], *, rounds: int, warm_up: int = 1, say: Callable = print
) -> dict[str, dict[str, Any]]:
  """Runs A, B, C, A, B, C … so that what slows the machine for a while slows all of them.

  Args:
    contestants: name -> one run; it returns a dict with its 'seconds', or they are measured here.
    rounds: runs of each that count.
    warm_up: runs of each before them; the seconds of the first are kept, compilation included
      where the run compiles.

  Returns:
    name -> {'first': seconds of the first run, 'runs': what each run that counts returned}.
  """
  found = {name: {'first': None, 'runs': []} for name in contestants}
  for turn in range(warm_up + rounds):
    for name, run in contestants.items():
      seen = timed(run)
      if turn == 0:
        found[name]['first'] = seen['seconds']
      if turn >= warm_up:
        found[name]['runs'].append(seen)
      say(f'  {turn - warm_up + 1:2d}/{rounds} {name}: {seen["seconds"]:.3f} s', flush=True)
  return found


def timed(run: Run) -> dict[str, Any]:
  started = time.perf_counter()
  seen = run()
  return {'seconds': time.perf_counter() - started, **seen}


def values(arm: Mapping[str, Any], name: str = 'seconds') -> list[float]:
  return [run[name] for run in arm['runs'] if run.get(name) is not None]


def median(arm: Mapping[str, Any], name: str = 'seconds') -> float | None:
  """The median over the runs of an arm; None where it does not say."""
  found = values(arm, name)
  return statistics.median(found) if found else None


def spread(found: Sequence[float]) -> str:
  """'1.23 (1.20 … 1.41)': the median, the smallest and the largest."""
  low, high = min(found), max(found)
  return f'{statistics.median(found):.2f} ({low:.2f} … {high:.2f})'


def paired_ratio(theirs: Mapping[str, Any], ours: Mapping[str, Any], name='seconds') -> float:
  """How many times as long as ours theirs takes: the median over the rounds."""
  pairs = zip(values(theirs, name), values(ours, name))
  return statistics.median(a / b for a, b in pairs)
