"""Whether a run can learn anything, seen from its first iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rljax.rollouts.measures import is_hopeless

__all__ = ['HealthError', 'check']


class HealthError(RuntimeError):
  """The run cannot go on as it is; the message says why."""


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
