"""Reductions under a mask, in at least float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def widen(x: Array) -> Array:
  """`x` in at least float32.

  Examples:
    >>> print(masking.widen(jnp.ones(2, jnp.bfloat16)).dtype)
    float32
  """
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def zero_where_not(x: Array, mask: Array) -> Array:
  """`x` where `mask`, else 0, in at least float32.

  Examples:
    >>> print(masking.zero_where_not(jnp.array([1.0, jnp.nan]), jnp.array([True, False])))
    [1. 0.]
  """
  return jnp.where(mask, widen(x), 0)


def masked_sum(x: Array, mask: Array, axis: int | tuple[int, ...] | None = None) -> Array:
  """Σ x over `mask`, along `axis` (all axes by default).

  Examples:
    >>> x, mask = jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])
    >>> print(masking.masked_sum(x, mask))  # what is masked has no influence
    4.0
  """
  return jnp.sum(zero_where_not(x, mask), axis=axis)


def masked_mean(x: Array, mask: Array, axis: int | tuple[int, ...] | None = None) -> Array:
  """Mean of x over `mask`; 0 where nothing is left.

  Examples:
    >>> x, mask = jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])
    >>> print(masking.masked_mean(x, mask), masking.masked_mean(x, jnp.zeros(3, bool)))
    2.0 0.0
  """
  count = jnp.sum(mask, axis=axis)
  return masked_sum(x, mask, axis) / jnp.maximum(count, 1)


def masked_var(x: Array, mask: Array, *, ddof: int = 0) -> Array:
  """Two-pass variance of x over all entries of `mask`; 0 where fewer than ddof + 1 are left.

  Examples:
    >>> x, mask = jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])
    >>> print(masking.masked_var(x, mask), masking.masked_var(x, mask, ddof=1))
    1.0 2.0
  """
  centred = zero_where_not(widen(x) - masked_mean(x, mask), mask)
  count = jnp.sum(mask) - ddof
  return jnp.where(count > 0, jnp.sum(centred**2) / jnp.maximum(count, 1), 0)


def masked_max(x: Array, mask: Array, axis: int | tuple[int, ...] | None = None) -> Array:
  """Maximum of x over `mask`; 0 where nothing is left.

  Examples:
    >>> x, mask = jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])
    >>> print(masking.masked_max(x, mask), masking.masked_max(x, jnp.zeros(3, bool)))
    3.0 0.0
  """
  top = jnp.max(jnp.where(mask, widen(x), -jnp.inf), axis=axis)
  return jnp.where(jnp.any(mask, axis=axis), top, 0)


def masked_min(x: Array, mask: Array, axis: int | tuple[int, ...] | None = None) -> Array:
  """Minimum of x over `mask`; 0 where nothing is left.

  Examples:
    >>> x, mask = jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])
    >>> print(masking.masked_min(x, mask))
    1.0
  """
  return -masked_max(-widen(x), mask, axis)


def is_constant(x: Array, mask: Array) -> Array:
  """bool scalar: max − min ≤ 1e-6 · max(1, max|x|) over `mask` (one entry is constant).

  Examples:
    >>> x, mask = jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])
    >>> print(masking.is_constant(x, mask), masking.is_constant(x, jnp.array([True, False, False])))
    False True
  """
  top, bottom = masked_max(x, mask), masked_min(x, mask)
  return top - bottom <= 1e-6 * jnp.maximum(1, jnp.maximum(jnp.abs(top), jnp.abs(bottom)))


def weighted_sum(x: Array, weights: Array) -> Array:
  """Σ weights · x; an x under weight 0 has no influence, whatever it is.

  Examples:
    >>> x = jnp.array([1.0, 3.0, jnp.inf])
    >>> print(masking.weighted_sum(x, jnp.array([0.5, 0.5, 0.0])))
    2.0
  """
  return jnp.sum(zero_where_not(x, weights != 0) * weights)


def shield(arrays: dict[str, Array], mask: Array) -> dict[str, Array]:
  """Float arrays of the shape of `mask` with 0 where not `mask`; the others as they are.

  A token loss is finite, and so are its derivatives, where all its arrays are 0. So a loss of
  shielded arrays, summed by `weighted_sum`, has no NaN in value or gradient, whatever stood under
  the mask.

  Examples:
    >>> arrays = {'logprobs': jnp.array([-1.0, -jnp.inf]), 'step': jnp.array(3)}
    >>> print(masking.shield(arrays, jnp.array([True, False]))['logprobs'])
    [-1.  0.]
  """
  return {
    name: jnp.where(mask, x, jnp.zeros((), x.dtype))
    if jnp.issubdtype(x.dtype, jnp.floating) and x.shape == mask.shape
    else x
    for name, x in arrays.items()
  }
