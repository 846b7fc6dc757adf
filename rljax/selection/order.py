"""Thresholds of a minibatch, found without a sort: by bisection on the bits of the numbers.

Each step asks one question of all tokens at once, so tokens may lie on several devices and in any
order: what is found is exact and does not depend on it. Equal numbers are on the same side.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def ordered(x: Array) -> Array:
  """Unsigned integers in the order of the floats x (no NaN), one for each distinct value.

  Where the device flushes subnormal numbers they count as 0.
  """
  x = masking.widen(x)
  x = jnp.where(x == 0, jnp.zeros_like(x), x)  # one zero
  size = 8 * x.dtype.itemsize
  bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f'uint{size}'))
  sign = jnp.asarray(1, bits.dtype) << (size - 1)
  return jnp.where(bits & sign == 0, bits | sign, ~bits)


def largest(holds: Callable[[Array], Array], dtype: jnp.dtype) -> Array:
  """The largest unsigned integer for which `holds`, which is true up to some number; else 0."""
  size = 8 * jnp.dtype(dtype).itemsize

  def body(i, found):
    more = found | (jnp.asarray(1, dtype) << (size - 1 - i).astype(dtype))
    return jnp.where(holds(more), more, found)

  return jax.lax.fori_loop(0, size, body, jnp.zeros((), dtype))


def kth_largest(keys: Array, mask: Array, count: Array) -> Array:
  """The `count`-th largest of the unsigned integers `keys` over `mask`; 0 if there are fewer."""
  return largest(lambda v: jnp.sum(mask & (keys >= v), dtype=jnp.int32) >= count, keys.dtype)


def top(keys: Array, mask: Array, count: Array) -> Array:
  """bool: the `count` largest `keys` over `mask`, with all that equal the last of them."""
  return mask & (keys >= kth_largest(keys, mask, count)) & (count > 0)


def share(fraction: Array | float, mask: Array, *, up: bool) -> Array:
  """int32: `fraction` of the entries of `mask`, rounded up or down.

  A product that is whole but for rounding (0.3 of 10) is not rounded to the next number.
  """
  wanted = fraction * jnp.sum(mask, dtype=jnp.int32)
  wanted = jnp.ceil(wanted - 1e-4) if up else jnp.floor(wanted + 1e-4)
  return wanted.astype(jnp.int32)
