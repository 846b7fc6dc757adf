"""Meshes and micro-batches of a config, tried on a topology."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from rljax.plan.measure import Measured
from rljax.plan.run import Plan, make_plan
from rljax.plan.topology import Topology

ROWS = (1, 2, 4)  # rows of a micro-batch on each shard of them


class Choice(NamedTuple):
  """One mesh and the rows of a micro-batch."""

  fsdp: int
  tensor: int
  expert: int
  rows: int

  @property
  def flags(self) -> str:
    """What makes a config have it."""
    expert = f' mesh.expert={self.expert}' if self.expert > 1 else ''
    return f'mesh.fsdp={self.fsdp} mesh.tensor={self.tensor}{expert} rows={self.rows}'


class Tried(NamedTuple):
  """A choice with its plan, or with why there is none."""

  choice: Choice
  plan: Plan | None
  refused: str = ''


def meshes(devices: int, kv_heads: int, experts: int) -> Iterator[tuple[int, int, int]]:
  """fsdp × tensor × expert of all devices; tensor divides the key heads, expert the experts."""
  for tensor in range(1, min(devices, kv_heads) + 1):
    for expert in range(1, min(devices // tensor, max(experts, 1)) + 1):
      fits = kv_heads % tensor == 0 and max(experts, 1) % expert == 0
      if fits and devices % (tensor * expert) == 0:
        yield devices // (tensor * expert), tensor, expert


def search(
  config: Any, stage: str, topology: Topology, tell: Callable[[Tried], None] = lambda tried: None
) -> list[Tried]:
  """All meshes with micro-batches of 1, 2 and 4 rows a shard, the fastest that fits first.

  Those that do not fit or compile stand at the end; where a micro-batch does not fit, larger ones
  are not compiled.

  Args:
    config: resolved; its mesh and rows are replaced.
    stage: of it.
    topology: the devices.
    tell: is called after each.
  """
  heads, experts = config.model.get('num_kv_heads', 1), config.model.get('num_experts', 0)
  found = []
  for fsdp, tensor, expert in meshes(len(topology.devices), heads, experts):
    sampler, fits = None, True
    for rows in ROWS:
      choice = Choice(fsdp, tensor, expert, rows * fsdp * expert)
      tried = Tried(choice, None, 'fewer rows do not fit')
      if fits:
        tried = _try(config, stage, topology, choice, sampler)
      tell(tried)
      found.append(tried)
      fits = fits and (tried.plan is None or tried.plan.fits)
      sampler = tried.plan.sampler if tried.plan else sampler
  return sorted(found, key=_order)


def _try(
  config: Any, stage: str, topology: Topology, choice: Choice, sampler: Measured | None
) -> Tried:
  changed = config.copy_and_resolve_references()
  with changed.unlocked():
    changed.mesh.update(data=1, fsdp=choice.fsdp, tensor=choice.tensor, expert=choice.expert)
    changed.mesh.sequence = 1
    changed[stage].rows = choice.rows
    if 'sampler' in changed[stage] and changed[stage].sampler.slots:
      slots = changed[stage].sampler.slots
      changed[stage].sampler.slots = -(-slots // choice.fsdp) * choice.fsdp
  try:
    return Tried(choice, make_plan(changed, stage, topology, sampler))
  except ValueError as error:
    return Tried(choice, None, str(error))


def _order(tried: Tried) -> tuple[bool, float]:
  fits = tried.plan is not None and tried.plan.fits
  seconds = tried.plan.seconds if tried.plan is not None else math.inf
  return (not fits, math.inf if math.isnan(seconds) else seconds)
