"""Meshes and micro-batches of a config, tried on a topology."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from rljax.plan.chips import GIB
from rljax.plan.measure import Measured
from rljax.plan.programs import Abstract, abstract
from rljax.plan.residents import residents
from rljax.plan.run import Plan, measured_sampler, plan_of
from rljax.plan.topology import Topology

ROWS = (1, 2, 4)  # rows of a micro-batch on each shard of them
NAMES = ('tensor', 'expert', 'rows')  # what a search can be kept to


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
  """A choice with its plan, or with why there is none.

  Attributes:
    refused: '' where there is a plan.
    sampler: of its mesh, where it was compiled.
    is_full: whether larger micro-batches cannot fit either.
  """

  choice: Choice
  plan: Plan | None
  refused: str = ''
  sampler: Measured | None = None
  is_full: bool = False


def meshes(devices: int, kv_heads: int, experts: int) -> Iterator[tuple[int, int, int]]:
  """fsdp × tensor × expert of all devices; tensor divides the key heads, expert the experts."""
  for tensor in range(1, min(devices, kv_heads) + 1):
    for expert in range(1, min(devices // tensor, max(experts, 1)) + 1):
      fits = kv_heads % tensor == 0 and max(experts, 1) % expert == 0
      if fits and devices % (tensor * expert) == 0:
        yield devices // (tensor * expert), tensor, expert


def search(
  config: Any,
  stage: str,
  topology: Topology,
  tell: Callable[[Tried], None] = lambda tried: None,
  among: Mapping[str, Sequence[int]] = {},
) -> list[Tried]:
  """Meshes with micro-batches of 1, 2 and 4 rows a shard, the fastest that fits first.

  Those that do not fit or compile stand at the end; what is too large before a program's
  temporaries is not compiled, nor are larger micro-batches where one does not fit.

  Args:
    config: resolved; its mesh and rows are replaced.
    stage: of it.
    topology: the devices.
    tell: is called after each.
    among: of `NAMES`: the sizes that are tried; rows are those of a shard.

  Raises:
    ValueError: no mesh has such sizes; devices are not shared by all.
  """
  if any(config.devices.values()):
    raise ValueError('--search tries meshes of all devices: config.devices must be empty')
  heads, experts = config.model.get('num_kv_heads', 1), config.model.get('num_experts', 0)
  found = []
  for fsdp, tensor, expert in meshes(len(topology.devices), heads, experts):
    if tensor not in among.get('tensor', (tensor,)) or expert not in among.get('expert', (expert,)):
      continue
    tried = None
    for rows in among.get('rows', ROWS):
      choice = Choice(fsdp, tensor, expert, rows * fsdp * expert)
      if tried is not None and tried.is_full:
        tried = Tried(choice, None, 'fewer rows do not fit', is_full=True)
      else:
        tried = _try(config, stage, topology, choice, tried and tried.sampler)
      tell(tried)
      found.append(tried)
  if not found:
    told = ' '.join(f'{name}={",".join(map(str, sizes))}' for name, sizes in among.items())
    raise ValueError(f'--among: {told}: no mesh of {len(topology.devices)} devices has such sizes')
  return sorted(found, key=_order)


def _try(
  config: Any, stage: str, topology: Topology, choice: Choice, sampler: Measured | None
) -> Tried:
  try:
    given = abstract(_changed(config, stage, choice), stage, topology.devices)
    told = _too_large(given, topology, sampler)
    if not told and sampler is None:
      sampler = measured_sampler(given, topology)
      told = _too_large(given, topology, sampler)
    if told:
      return Tried(choice, None, told, sampler, is_full=True)
    plan = plan_of(given, topology, sampler)
    return Tried(choice, plan, '', sampler, is_full=not plan.fits)
  except ValueError as error:
    return Tried(choice, None, str(error), sampler)
  except jax.errors.JaxRuntimeError as error:
    return Tried(choice, None, f'does not compile: {error}', sampler)


def _changed(config: Any, stage: str, choice: Choice) -> Any:
  """The config with a choice; its slots are what the shards of the rows divide."""
  changed = config.copy_and_resolve_references()
  with changed.unlocked():
    changed.mesh.update(data=1, fsdp=choice.fsdp, tensor=choice.tensor, expert=choice.expert)
    changed.mesh.sequence = 1
    changed[stage].rows = choice.rows
    if 'sampler' in changed[stage] and changed[stage].sampler.slots:
      slots = changed[stage].sampler.slots
      changed[stage].sampler.slots = -(-slots // choice.fsdp) * choice.fsdp
  return changed


def _too_large(given: Abstract, topology: Topology, sampler: Measured | None) -> str:
  """Why a stage cannot fit, whatever its update takes besides; '' = it may."""
  if sampler is not None and sampler.failed:
    return f'the sampler does not compile: {sampler.failed}'
  known = sampler or (Measured('sampler') if given.requests is not None else None)
  phases = residents(given, Measured('update'), known, topology.capacity).phases
  worst = max(phases, key=lambda phase: phase.total)
  if worst.fits is not False:
    return ''
  but = '' if sampler is not None and worst.name == 'rollout' else ' without temporaries'
  size, room = worst.total / GIB, topology.capacity / GIB
  return f'does NOT fit: the {worst.name} takes {size:.2f} of {room:.2f} GiB{but}'


def _order(tried: Tried) -> tuple[bool, float]:
  fits = tried.plan is not None and tried.plan.fits
  seconds = tried.plan.seconds if tried.plan is not None else math.inf
  return (not fits, math.inf if math.isnan(seconds) else seconds)
