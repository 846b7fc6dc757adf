"""The plan of one config on one topology."""

from __future__ import annotations

import dataclasses
from typing import Any

from rljax.plan import model_work
from rljax.plan.measure import Measured, measure
from rljax.plan.programs import Abstract, abstract
from rljax.plan.residents import Residents, residents
from rljax.plan.topology import Topology

# Kind of memory → what makes it smaller.
REMEDIES = {
  'parameters': 'parameters: more chips along fsdp or tensor',
  'optimizer': 'optimizer: keep its state in the host’s memory, or more chips along fsdp or tensor',
  'frozen roles': 'frozen roles: keep them in the host’s memory, or kl_coef=0 without a reference',
  'gradients': 'gradients: more chips along fsdp or tensor',
  'weights to compute with': 'weights to sample with: a larger tensor axis, a smaller fsdp axis',
  'cache': "cache: fewer sampler.slots, or sampler.cache_dtype='int8'",
  'temporaries': "temporaries: model.remat='full', fewer rows in a micro-batch, smaller chunk_size",
  'batch': 'batch: fewer prompts or samples in an iteration',
}


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a stage takes on each chip.

  Attributes:
    given: the stage.
    topology: its devices.
    update, sampler: its programs; sampler is None where the stage does not sample.
    residents: what stands on a chip in each phase.
    notes: what was counted how.
    advice: what to change; empty where all fits.
  """

  given: Abstract
  topology: Topology
  update: Measured
  sampler: Measured | None
  residents: Residents
  notes: list[str]
  advice: list[str]

  @property
  def programs(self) -> list[Measured]:
    return [one for one in (self.sampler, self.update) if one is not None]

  @property
  def fits(self) -> bool:
    """Whether all programs compile and no phase is known to need more than a chip has."""
    there = all(phase.fits is not False for phase in self.residents.phases)
    return there and not any(one.failed for one in self.programs)

  @property
  def seconds(self) -> float:
    """Of one iteration, at the limits of the chip; NaN where those are unknown."""
    return sum(one.time for one in self.programs)


def make_plan(
  config: Any, stage: str, topology: Topology, sampler: Measured | None = None
) -> Plan:
  """Compiles the programs of a stage and adds up what they take.

  Args:
    config: resolved.
    stage: one of `config.stages`.
    topology: the devices.
    sampler: as measured before, where a plan differs in the update alone.

  Raises:
    ValueError: as `programs.abstract`.
  """
  return plan_of(abstract(config, stage, topology.devices), topology, sampler)


def plan_of(given: Abstract, topology: Topology, sampler: Measured | None = None) -> Plan:
  """The plan of a stage that stands as shapes; see `make_plan`."""
  if sampler is None:
    sampler = measured_sampler(given, topology)
  flops = model_work.update_flops(given)
  update = measure('update', given.lower_update(), topology, given.world.mesh, flops)
  found = residents(given, update, sampler, topology.capacity)
  notes = list(given.notes)
  for one in (sampler, update):
    if one is not None:
      notes += [f'{one.name}: FLOPs of {name} are not known' for name in one.work.unknown]
      notes += [f'{one.name}: counted once: the loop {name}' for name in one.work.uncounted]
  plan = Plan(given, topology, update, sampler, found, notes, [])
  return plan if plan.fits else dataclasses.replace(plan, advice=advise(found))


def measured_sampler(given: Abstract, topology: Topology) -> Measured | None:
  """The sampler of a stage, compiled; None where the stage does not sample."""
  if given.requests is None:
    return None
  flops = model_work.sampler_flops(given)
  mesh = given.stage.generate.program.mesh
  return measure('sampler', given.lower_sampler(), topology, mesh, flops)


def advise(found: Residents) -> list[str]:
  """Remedies for the phase that needs most, its largest kinds first."""
  worst = max(found.phases, key=lambda phase: phase.total).kinds
  ranked = sorted(worst, key=worst.get, reverse=True)
  return [REMEDIES[kind] for kind in ranked[:4] if kind in REMEDIES]
