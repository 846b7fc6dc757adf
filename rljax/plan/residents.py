"""What stands on a chip while each phase of an iteration runs, and what still fits."""

from __future__ import annotations

import dataclasses
import math

import jax

from rljax.plan.measure import Measured, on_device, on_host
from rljax.plan.programs import Abstract, samples_apart
from rljax.sampling.slots import cache_options, given_room
from rljax.sharding import sample_shards


@dataclasses.dataclass(frozen=True)
class Phase:
  """Bytes on each chip in a phase, by kind; `fits` is None where the capacity is not known."""

  name: str
  kinds: dict[str, int]
  fits: bool | None

  @property
  def total(self) -> int:
    return sum(self.kinds.values())


@dataclasses.dataclass(frozen=True)
class Residents:
  """The phases, what stands in the host's memory, and how many slots the rest of the memory holds.

  Attributes:
    phases: one after the other.
    host: bytes for each chip.
    slots: in each group of chips that shares a cache: there are, fit at the context of the config.
    context: tokens of one slot.
    groups: such groups.
  """

  phases: list[Phase]
  host: int
  slots: tuple[int, int] | None
  context: int
  groups: int


def residents(
  given: Abstract, update: Measured, sampler: Measured | None, capacity: float | None
) -> Residents:
  """The resident set of each phase.

  Where a stage samples on other devices, 'rollout' is what stands on one of those, the rest what
  stands on one that trains.

  Args:
    given: the stage.
    update, sampler: its programs; both stay loaded on devices that do both.
    capacity: bytes of a chip.
  """
  stay = {
    'parameters': on_device(given.state.params),
    'optimizer': on_device(given.state.opt_state),
    'frozen roles': on_device(given.frozen),
    'code': update.code,
  }
  apart = sampler is not None and samples_apart(given.stage)
  both = stay if apart or sampler is None else {**stay, 'code': update.code + sampler.code}

  def phase(name, beside=both, **more):
    kinds = {**beside, **more}
    fits = None if capacity is None else sum(kinds.values()) <= capacity
    return Phase(name, kinds, fits)

  phases, slots, context, groups, copy, moved = [], None, 0, 0, 0, False
  if sampler is not None:
    cache, places, context, groups = cache_bytes(given)
    copy = _copy_bytes(given)
    moved = given.stage.generate.program.move is not None  # by a program of its own
    rest = max(0, sampler.temporary - cache - (0 if moved else copy))
    took = {'weights to compute with': copy, 'cache': cache, 'temporaries': rest}
    took['requests and samples'] = on_device(given.requests) + sampler.kept
    phases.append(phase('rollout', {'code': sampler.code} if apart else both, **took))
    if capacity is not None:
      free = capacity - (phases[-1].total - cache)
      slots = places, max(0, int(free // (cache / places)))
  rows = on_device(given.batch)
  gradients = _gradient_bytes(given)
  rest = max(0, update.temporary - gradients)
  told = {'batch': rows, 'gradients': gradients, 'temporaries': rest + update.kept}
  phases.append(phase('prepare', **told))  # a part of the update's program: one plan of its memory
  phases.append(phase('update', **told))
  phases.append(phase('save'))  # copies go to the host
  # Where they sample elsewhere, they are cast where they train and then sent.
  cast = _cast_bytes(given) if apart else copy
  phases.append(phase('reshard', **({'weights to compute with': cast} if moved else {})))
  host = on_host((given.state.params, given.state.opt_state, given.frozen))
  return Residents(phases, host, slots, context, groups)


def cache_bytes(given: Abstract) -> tuple[int, int, int, int]:
  """(bytes of the cache on a chip, slots of a group, tokens of a slot, groups)."""
  generate = given.stage.generate
  mesh = generate.program.mesh
  groups = sample_shards(mesh)
  samples = generate.prompts * generate.samples
  settings = generate.settings
  slots = min(settings.slots or samples, samples) // groups
  policy = given.world.policies['policy']
  room = (given_room(given.requests), settings.max_new_tokens)
  shapes = jax.eval_shape(
    lambda: policy.init_cache(slots, *room, **cache_options(settings))
  )
  heads = mesh.shape.get('tensor', 1)
  whole = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes))
  return whole // heads, slots, sum(room), groups


def _copy_bytes(given: Abstract) -> int:
  """The weights in the compute dtype, where they sample."""
  program = given.stage.generate.program
  if program.move is not None:
    params = given.state.params.get('policy', given.world.params['policy'])
    return on_device(program.move.outline(program.together(params)))
  return _cast_bytes(given)


def _cast_bytes(given: Abstract) -> int:
  """The weights in the compute dtype, where they train."""
  program, policy = given.stage.generate.program, given.world.policies['policy']
  params = given.state.params.get('policy', given.world.params['policy'])
  if program.beside:  # the adapters are added to their base
    cast = jax.eval_shape(program.policy.cast, program.together(params))
    params = program.beside['base']
  else:
    cast = jax.eval_shape(policy.cast, params) if policy.cast else params
  sizes = jax.tree.map(
    lambda x, y: math.prod(x.sharding.shard_shape(x.shape)) * y.dtype.itemsize, params, cast
  )
  return sum(jax.tree.leaves(sizes))


def _gradient_bytes(given: Abstract) -> int:
  """The sum over micro-batches, at least float32, in the parameters' sharding."""

  def leaf(x):
    return math.prod(x.sharding.shard_shape(x.shape)) * max(4, x.dtype.itemsize)

  return sum(jax.tree.leaves(jax.tree.map(leaf, given.state.params)))


