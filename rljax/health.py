"""Whether a run can learn anything, seen from its first iterations; what it has left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rljax.rollouts.measures import is_hopeless

__all__ = ['HealthError', 'check', 'lost']


class HealthError(RuntimeError):
  """The run cannot go on as it is; the message says why."""


def lost(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """What a run has left out of its losses, a line each: samples without a reward, updates.

  Args:
    rows: lines of its metrics.
  """
  told = {
    'reward/errors': 'completions had no reward, as it raised or returned no finite number',
    'reward/timeouts': 'completions had no reward in time',
    'update/skipped': 'updates were skipped, as loss or gradient was not finite',
  }
  drawn = sum(row.get('rollout/samples', 0) for row in rows)
  found = []
  for name, text in told.items():
    if count := sum(row.get(name, 0) for row in rows):
      of = f' of {drawn:,.0f}' if name.startswith('reward/') else ''
      found.append(f'WARNING: {count:,.0f}{of} {text}')
  return found


def check(config: Any, history: Sequence[Mapping[str, Any]], done: int) -> None:
  """Stops a run whose first iterations show that nothing can be learnt.

  Args:
    config: resolved.
    history: metrics of the stage's iterations since this start.
    done: iterations of the stage; a run that continues in the middle has been looked at before.

  Raises:
    HealthError: says what is wrong.
  """
  if config.health_check and done == len(history) == config.health_iterations:
    if why := is_hopeless(history):
      raise HealthError(f'{why} (--config.health_check=False goes on all the same)')
