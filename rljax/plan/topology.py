"""The devices that programs are planned for: of a TPU topology that is not there, or local."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from typing import Any

import jax

from rljax.plan.chips import CHIPS, Chip

LOCAL = 'local'
_NAME = re.compile(r'(\w+):(\d+(?:x\d+)+)$')


@dataclasses.dataclass(frozen=True)
class Topology:
  """Devices, one for each chip.

  Attributes:
    name: 'v5e:4x4', or 'local'.
    devices: for a mesh.
    chip: None where nothing is known of it.
    edges: chips along each edge of a slice.
  """

  name: str
  devices: Sequence[Any]
  chip: Chip | None
  edges: tuple[int, ...]

  @property
  def capacity(self) -> float | None:
    """Bytes of a chip; None where they are not known."""
    return self.chip.hbm if self.chip else None


def find(name: str) -> Topology:
  """The devices of a topology.

  Args:
    name: '<chip>:<edges>' such as 'v5e:4x4' or 'v5p:2x4x4', counted in chips; 'local': those of
      this process.

  Raises:
    ValueError: the name, or libtpu is missing; says how to install it.
  """
  if name == LOCAL:
    devices = jax.devices()
    kind = devices[0].device_kind.lower()
    chip = next((c for key, c in CHIPS.items() if key in kind), None)
    return Topology(name, devices, chip, (len(devices),))
  found = _NAME.match(name)
  tpus = [key for key in CHIPS if key.startswith('v')]
  if not found or found[1] not in tpus:
    raise ValueError(
      f'--topology={name}: it is {LOCAL!r} or <chip>:<edges in chips> with a chip of '
      f'{", ".join(tpus)}, such as v5e:4x4 (v5e-16) or v5p:2x4x4 (v5p-64, which counts cores)'
    )
  try:
    import libtpu  # noqa: F401
  except ImportError as error:
    raise ValueError(
      f'--topology={name} is compiled by libtpu, which is not installed: '
      f"pip install libtpu (the extra 'tpu-plan'); --topology={LOCAL} needs none"
    ) from error
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')  # nobody is asked which TPU this is
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')  # nothing is run on it
  from jax.experimental import topologies

  edges = tuple(int(n) for n in found[2].split('x'))
  try:
    devices = topologies.get_topology_desc(name, platform='tpu').devices
  except Exception as error:
    raise ValueError(f'--topology={name}: libtpu refuses it: {error}') from error
  if len(devices) != math.prod(edges):
    raise ValueError(f'--topology={name} has {len(devices)} devices for {math.prod(edges)} chips')
  return Topology(name, devices, CHIPS[found[1]], edges)
