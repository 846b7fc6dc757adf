"""Statistics over all tokens that share a key, such as the steps that left the same state.

Sorted, and summed by segmented scans: no scatter, M log M for M tokens of the iteration, and every
member gets bit-equal statistics. The flattened tokens are gathered if they are sharded.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


class KeyStatistics(NamedTuple):
  """Of the entries with the same key, for each entry; anything where an entry is not counted.

  Attributes:
    count: float, entries.
    mean: of x.
    squares: Σ (x − mean)², two-pass.
    equal: bool, max − min ≤ 1e-6 · max(1, max|x|).
  """

  count: Array
  mean: Array
  squares: Array
  equal: Array


def key_statistics(x: Array, keys: tuple[Array, ...], where: Array) -> KeyStatistics:
  """Statistics of x among the entries whose `keys` agree.

  Args:
    x: float [...].
    keys: int32 [...] each, below 2³¹ − 1.
    where: bool [...], the entries that count.
  """
  none = jnp.iinfo(jnp.int32).max
  flat = [jnp.where(where, key, none).astype(jnp.int32).reshape(-1) for key in keys]
  x = jax.lax.stop_gradient(masking.zero_where_not(x, where)).reshape(-1)
  index = jnp.arange(x.shape[0], dtype=jnp.int32)
  *flat, x, order = jax.lax.sort((*flat, x, index), num_keys=len(flat) + 1)
  new = index == 0
  for key in flat:
    new = new | masking.starts(key)
  member = jnp.cumsum(new.astype(jnp.int32))  # the number of the key, in their order
  first = jax.lax.cummax(jnp.where(new, index, 0))

  def total(values):
    return masking.reverse_segment_scan(jnp.ones(x.shape), values, member)[first]

  count = total(jnp.ones(x.shape, x.dtype))
  mean = total(x) / count
  low, high = x[first], x[first + count.astype(jnp.int32) - 1]
  equal = high - low <= 1e-6 * jnp.maximum(1, jnp.maximum(jnp.abs(low), jnp.abs(high)))
  back = jnp.argsort(order)
  found = KeyStatistics(count, mean, total((x - mean) ** 2), equal)
  return KeyStatistics(*(statistic[back].reshape(where.shape) for statistic in found))


def normalize_equal(
  x: Array,
  keys: tuple[Array, ...],
  where: Array,
  *,
  no_std: bool,
  epsilon: float,
  ddof: int,
) -> Array:
  """(x − μ)/(σ + ε) among equal keys, 0 where all of a key are equal and where not `where`."""
  found = key_statistics(x, keys, where)
  result = masking.zero_where_not(x, where) - found.mean
  if not no_std:
    result = result / (jnp.sqrt(found.squares / jnp.maximum(found.count - ddof, 1)) + epsilon)
  return jnp.where(where & ~found.equal, result, 0)
