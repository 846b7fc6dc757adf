"""Meshes and micro-batches of a config, tried on a topology."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from rljax.plan.run import Plan, make_plan
from rljax.plan.topology import Topology

ROWS = (1, 2, 4)  # rows of a micro-batch on each shard of them


class Choice(NamedTuple):
  """One mesh and the rows of a micro-batch."""

  fsdp: int
  tensor: int
  rows: int

  @property
  def flags(self) -> str:
    """What makes a config have it."""
    return f'mesh.fsdp={self.fsdp} mesh.tensor={self.tensor} rows={self.rows}'


class Tried(NamedTuple):
  """A choice with its plan, or with why there is none."""

  choice: Choice
  plan: Plan | None
  refused: str = ''


def choices(devices: int, kv_heads: int) -> Iterator[Choice]:
  """Meshes fsdp × tensor of all devices, tensor dividing the key heads, with micro-batches."""
  for tensor in range(1, min(devices, kv_heads) + 1):
    if devices % tensor == 0 and kv_heads % tensor == 0:
      for rows in ROWS:
        yield Choice(devices // tensor, tensor, rows * devices // tensor)


def search(
  config: Any, stage: str, topology: Topology, tell: Callable[[Tried], None] = lambda tried: None
) -> list[Tried]:
  """All choices, the fastest that fits first; those that do not fit or compile stand at the end.

  Args:
    config: resolved; its mesh and rows are replaced.
    stage: of it.
    topology: the devices.
    tell: is called after each.
  """
  heads = config.model.get('num_kv_heads', 1)
  found = []
  for choice in choices(len(topology.devices), heads):
    tried = _try(config, stage, topology, choice)
    tell(tried)
    found.append(tried)
  return sorted(found, key=_order)


def _try(config: Any, stage: str, topology: Topology, choice: Choice) -> Tried:
  changed = config.copy_and_resolve_references()
  with changed.unlocked():
    changed.mesh.update(data=1, fsdp=choice.fsdp, tensor=choice.tensor)
    changed[stage].rows = choice.rows
    if 'sampler' in changed[stage] and changed[stage].sampler.slots:
      slots = changed[stage].sampler.slots
      changed[stage].sampler.slots = -(-slots // choice.fsdp) * choice.fsdp
  try:
    return Tried(choice, make_plan(changed, stage, topology))
  except ValueError as error:
    return Tried(choice, None, str(error))


def _order(tried: Tried) -> tuple[bool, float]:
  fits = tried.plan is not None and tried.plan.fits
  seconds = tried.plan.seconds if tried.plan is not None else math.inf
  return (not fits, math.inf if math.isnan(seconds) else seconds)
