"""What one chip can do, by its makers' pages."""

from __future__ import annotations

import dataclasses
import math

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """The limits of one chip.

  Attributes:
    name: as topologies name it.
    hbm: bytes that programs may use: what the compiler says where it is known, else the page's.
    flops: per second, bfloat16 products, dense.
    bandwidth: of the main memory, bytes per second.
    link: bytes per second over one link of the network in one direction.
    wraps: chips along an edge of a slice from which on its links close to a ring; a ring uses both
      directions. 1: always (a switch), 0: never.
    source: the page, and when it was read.
  """

  name: str
  hbm: float
  flops: float
  bandwidth: float
  link: float
  wraps: int
  source: str

  def axis_bandwidth(self, edges: tuple[int, ...]) -> float:
    """Bytes per second that a chip sends along one axis of a mesh that lies on an edge.

    Args:
      edges: chips along each edge of the slice; rings are counted on only where all edges close.
    """
    closed = self.wraps and all(n >= self.wraps or n == 1 for n in edges) and math.prod(edges) > 1
    return self.link * (2 if closed and self.wraps > 1 else 1)


# Read on 2026-11-22. The pages give the network of a chip as a whole and in both directions: v5e
# 400 GB/s and v6e 800 GB/s over 4 links, v5p 1200 GB/s over 6. `hbm` of TPUs is what libtpu 0.0.51
# says in its errors ('of 15.75G hbm').
CHIPS = {
  'v5e': Chip(
    'v5e', 15.75 * GIB, 197e12, 819e9, 50e9, 16, 'https://docs.cloud.google.com/tpu/docs/v5e'
  ),
  'v5p': Chip(
    'v5p', 95.73 * GIB, 459e12, 2765e9, 100e9, 4, 'https://docs.cloud.google.com/tpu/docs/v5p'
  ),
  'v6e': Chip(
    'v6e', 31.24 * GIB, 918e12, 1600e9, 100e9, 16, 'https://docs.cloud.google.com/tpu/docs/v6e'
  ),
  # Dense bfloat16 is half of the figure with sparsity; NVLink in one direction, through a switch.
  'h100': Chip(
    'h100', 80e9, 989e12, 3350e9, 450e9, 1, 'https://www.nvidia.com/en-us/data-center/h100/'
  ),
  'h200': Chip(
    'h200', 141e9, 989e12, 4800e9, 450e9, 1, 'https://www.nvidia.com/en-us/data-center/h200/'
  ),
}
