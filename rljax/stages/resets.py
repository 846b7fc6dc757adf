"""When the reference of a stage moves, and what begins anew with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljax import binding

SERIES = {'mean_rewards': 'reward/mean', 'kl_refs': 'policy/kl_ref'}  # by metric


class Resets:
  """Counts and measures the iterations of a reference.

  Args:
    name: of the stage.
    node: of the stage.
    has_reference: whether anything looks at one.

  Raises:
    ValueError: a trigger or a reset of the optimizer, and nothing to renew.
  """

  def __init__(self, name: str, node: Mapping[str, Any], *, has_reference: bool):
    trigger = node.get('reference_trigger')
    self.every = node.get('reference_every', 0) if has_reference else 0
    self.with_optimizer = node.get('reference_resets_optimizer', False)
    self._trigger = binding.bind(trigger, SERIES) if trigger else None
    if (trigger or self.with_optimizer) and not has_reference:
      raise ValueError(
        f'{name}.reference_trigger and {name}.reference_resets_optimizer renew a reference, and '
        f'the stage has none; set {name}.kl_coef above 0'
      )
    if self.with_optimizer and not (trigger or self.every):
      raise ValueError(
        f'{name}.reference_resets_optimizer: the reference stays; set {name}.reference_every or '
        f'{name}.reference_trigger'
      )
    wanted = self._trigger.arrays if self._trigger else ()
    self._seen: dict[str, list[float]] = {series: [] for series in wanted}

  def see(self, metrics: Mapping[str, Any]) -> None:
    """Takes from an iteration's metrics what the trigger asks for, and nothing else.

    Raises:
      ValueError: it is not there.
    """
    for series, values in self._seen.items():
      if SERIES[series] not in metrics:
        raise ValueError(
          f'reference_trigger: {self._trigger.name} looks at {SERIES[series]}, which this stage '
          f'does not measure'
        )
      values.append(float(metrics[SERIES[series]]))

  @property
  def on_host(self) -> bool:
    """Whether more than the number of iterations decides, or more than the reference changes."""
    return self._trigger is not None or self.with_optimizer

  def is_due(self, done: int) -> bool:
    """Whether the reference moves after `done` iterations; then the series begin anew."""
    due = bool(self.every) and done % self.every == 0
    if self._trigger is not None:
      due = due or self._trigger(self._seen, self._trigger.hyper(done))
    if due:
      self._seen = {series: [] for series in self._seen}
    return due

  def state_dict(self) -> dict[str, Any]:
    return {series: list(values) for series, values in self._seen.items()}

  def load_state_dict(self, state: Mapping[str, Any]) -> None:
    self._seen = {series: list(state[series]) for series in self._seen}
