"""A compiled program on one chip: its memory by kind, its work, its traffic, its shortest time."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import re
import tempfile
import time
from typing import Any

import jax
import numpy as np

from rljax import files
from rljax.plan import costs
from rljax.plan.collectives import Collective, collectives
from rljax.plan.hlo import Program
from rljax.plan.topology import Topology
from rljax.structs import PyTree

# What a chip sends for each byte of the whole array of a group of n: a ring's share.
SENT = {
  'all-gather': lambda n: (n - 1) / n,
  'reduce-scatter': lambda n: (n - 1) / n,
  'all-reduce': lambda n: 2 * (n - 1) / n,
  'all-to-all': lambda n: (n - 1) / n,
  'collective-permute': lambda n: 1.0,
}
_NEEDED = re.compile(r'\(([\d.]+)([KMGT]?)\) exceeds|[Uu]sed ([\d.]+)([KMGT]?) of')
NOTHING = costs.Work(0.0, 0.0)
_UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}


@dataclasses.dataclass(frozen=True)
class Measured:
  """One program on one chip.

  Attributes:
    name: of the program.
    given, kept, temporary, code: bytes: arguments, results that are no argument's place, what it
      makes and forgets, instructions.
    failed: what the compiler said instead of a program; the other numbers are then 0, but for
      `temporary`: what it said is needed.
    work: FLOPs and bytes; `prepare` is the share of it before the first gradient.
    sent: bytes that a chip sends, by the axes of the mesh.
    times: seconds at the limits of the chip: 'compute', 'memory', 'network'.
    model_flops: of one chip, without recomputation.
    seconds: that the compiler took.
  """

  name: str
  given: int = 0
  kept: int = 0
  temporary: int = 0
  code: int = 0
  failed: str = ''
  work: costs.Work = NOTHING
  prepare: costs.Work = NOTHING
  sent: dict[str, float] = dataclasses.field(default_factory=dict)
  times: dict[str, float] = dataclasses.field(default_factory=dict)
  model_flops: float = 0.0
  seconds: float = 0.0

  @property
  def bound(self) -> str:
    """What its time is bounded by."""
    return max(self.times, key=self.times.get) if self.times else ''

  @property
  def time(self) -> float:
    """Seconds, if all that can overlap does."""
    return max(self.times.values(), default=math.nan)


def measure(
  name: str,
  lowered: jax.stages.Lowered,
  topology: Topology,
  mesh: jax.sharding.Mesh,
  model_flops: float,
) -> Measured:
  """Compiles a program and reads what it takes.

  Args:
    name: of it.
    lowered: for the devices of the topology.
    topology: gives the chip's limits.
    mesh: of the program.
    model_flops: of all chips together.
  """
  started = time.perf_counter()
  try:
    compiled, text = _compile(lowered, mesh.devices.flat[0].platform)
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    needed = _NEEDED.search(str(error))
    size, unit = [g for g in needed.groups() if g is not None] if needed else ('0', '')
    said = str(error).split('HLO module')[0].strip()
    return Measured(name, temporary=int(float(size) * _UNITS[unit]), failed=said)
  seconds = time.perf_counter() - started
  program, memory = Program(text), compiled.memory_analysis()
  work, found = costs.work(program), collectives(program, mesh.shape)
  return Measured(
    name=name,
    given=memory.argument_size_in_bytes,
    kept=memory.output_size_in_bytes - memory.alias_size_in_bytes,
    temporary=memory.temp_size_in_bytes,
    code=memory.generated_code_size_in_bytes,
    work=work,
    prepare=costs.work(program, within=lambda source: '/prepare/' in source),
    sent=sent_by_axes(found),
    times=_times(work, found, topology),
    model_flops=model_flops / mesh.size,
    seconds=seconds,
  )


def _compile(lowered: jax.stages.Lowered, platform: str) -> tuple[jax.stages.Compiled, str]:
  """The compiled program and its text."""
  if platform != 'tpu':
    compiled = lowered.compile()
    return compiled, compiled.as_text()
  # XLA cannot read back what libtpu makes of some programs (0.0.51, v5p: async-update), so libtpu
  # writes the text itself.
  with tempfile.TemporaryDirectory() as folder:
    compiled = lowered.compile(
      compiler_options={'xla_dump_to': folder, 'xla_dump_hlo_as_text': True}
    )
    texts = [
      files.read_text(f) for f in pathlib.Path(folder).glob('*.after_optimizations.txt')
    ]
    return compiled, max(texts, key=len)


def sent_by_axes(found: list[Collective]) -> dict[str, float]:
  """Bytes that one chip sends in a run, by the axes of the mesh along which they go."""
  out: dict[str, float] = {}
  for one in found:
    axes = ' × '.join(one.axes)
    if axes:
      out[axes] = out.get(axes, 0.0) + _sent(one)
  return dict(sorted(out.items(), key=lambda item: -item[1]))


def _sent(one: Collective) -> float:
  return one.times * one.bytes * SENT[one.kind](max(map(len, one.groups), default=1))


def _times(work: costs.Work, found: list[Collective], topology: Topology) -> dict[str, float]:
  chip = topology.chip
  if chip is None:
    return {}
  sent = sum(_sent(one) for one in found if one.axes)
  return {
    'compute': work.flops / chip.flops,
    'memory': work.bytes / chip.bandwidth,
    'network': sent / chip.axis_bandwidth(topology.edges),
  }


def on_device(tree: PyTree) -> int:
  """Bytes of a tree's arrays on each chip; what stands in the host's memory is left out."""
  return sum(_shard(x) for x in jax.tree.leaves(tree) if not _is_on_host(x))


def on_host(tree: PyTree) -> int:
  """Bytes for each chip in the host's memory."""
  return sum(_shard(x) for x in jax.tree.leaves(tree) if _is_on_host(x))


def _is_on_host(x: Any) -> bool:
  return (getattr(x.sharding, 'memory_kind', None) or '').endswith('host')


def _shard(x: Any) -> int:
  size = 8 if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else np.dtype(x.dtype).itemsize
  return math.prod(x.sharding.shard_shape(x.shape)) * size
