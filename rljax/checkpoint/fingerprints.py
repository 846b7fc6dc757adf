"""A number of 32 bits for an array, which tells of damage wherever the array is read again.

orbax writes no sums of the values: a flipped bit in a file may come back as another parameter. The
sum is made of the elements, not of the files: no byte is read twice, and another mesh, another
number of hosts or an object store change nothing.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_CHUNK = 1 << 22  # words at a time: the sum takes no second copy of a large array


def fingerprint(array: Any) -> int:
  """Σ_i (2i + 1)·word_i mod 2³²; word_i are the bits of element i, of one of 8 bytes two words.

  The factors are odd: no single flipped bit and no exchange of two neighbours goes unseen.

  Args:
    array: of numpy or jax; no keys.
  """
  if isinstance(array, jax.Array) and not _is_in_host_memory(array):
    return int(_on_devices(array))
  words = np.ascontiguousarray(array).reshape(-1)
  words = words.view(np.uint32 if words.itemsize == 8 else f'u{words.itemsize}')
  total = 0
  for first in range(0, words.size, _CHUNK):
    part = words[first : first + _CHUNK].astype(np.uint32)
    odd = np.arange(2 * first + 1, 2 * (first + part.size), 2).astype(np.uint32)
    total += int(np.sum(part * odd, dtype=np.uint32))
  return total % 2**32


def _is_in_host_memory(array: jax.Array) -> bool:
  """Then numpy reads it where it stands, and no program is compiled."""
  return array.is_fully_addressable and {d.platform for d in array.devices()} == {'cpu'}


@jax.jit
def _on_devices(array: jax.Array) -> jax.Array:
  """The same, without a reshape: it would gather a sharded array."""
  if array.dtype == jnp.bool_:
    array = array.astype(jnp.uint8)
  size = array.dtype.itemsize
  kind = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}[size]
  words = lax.bitcast_convert_type(array, kind).astype(jnp.uint32)
  index = jnp.zeros(words.shape, jnp.uint32)
  for axis in range(words.ndim):
    stride = math.prod(words.shape[axis + 1 :]) % 2**32
    index += lax.broadcasted_iota(jnp.uint32, words.shape, axis) * jnp.uint32(stride)
  return jnp.sum(words * (2 * index + 1), dtype=jnp.uint32)
