"""Statistics of groups: [N] -> [N], each sample gets that of its group."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax.masking.reductions import widen, zero_where_not

Array = jax.Array
PAIRS_AT_ONCE = 2**18  # of the comparison of N samples with N


def _over_group(
  reduce: Callable[..., Array], group_ids: Array, where: Array | None, *rows: Array
) -> Array:
  """[N]: reduce(member bool [N], *values of the sample) for each sample; j a counted member."""
  counted = group_ids >= 0 if where is None else where & (group_ids >= 0)

  def one(group_id, *values):
    return reduce((group_ids == group_id) & counted, *values)

  num, rows = group_ids.shape[0], (group_ids, *rows)
  block = max(1, PAIRS_AT_ONCE // max(num, 1))
  if num <= block:
    return jax.vmap(one)(*rows)
  # Blocks have one shape and so one order of summation: the last one is filled up.
  number = -(-num // block)
  blocks = [jnp.pad(x, (0, number * block - num)).reshape(number, block) for x in rows]
  # The comparisons are made again for the gradient, not kept.
  found = jax.lax.map(jax.checkpoint(lambda b: jax.vmap(one)(*b)), tuple(blocks))
  return found.reshape(-1)[:num]


def group_count(group_ids: Array, where: Array | None = None) -> Array:
  """float32 [N]: counted samples in the sample's group.

  Examples:
    >>> groups = jnp.array([7, 4, 7, -1])  # in any order; −1 = unused
    >>> print(masking.group_count(groups))
    [2. 1. 2. 0.]
  """
  return _over_group(
    lambda member: jnp.sum(member, dtype=jnp.int32), group_ids, where
  ).astype(jnp.float32)


def group_sum(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """[N]: Σ x over the counted samples of the sample's group.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 5.0, 0.0]), jnp.array([7, 4, 7])
    >>> print(masking.group_sum(rewards, groups))
    [1. 5. 1.]
  """
  return _over_group(lambda member: jnp.sum(zero_where_not(x, member)), group_ids, where)


def group_mean(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """[N]: mean of x over the group; 0 where nothing is counted.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 5.0, 0.0]), jnp.array([7, 4, 7])
    >>> print(masking.group_mean(rewards, groups))
    [0.5 5.  0.5]
    >>> print(masking.group_mean(rewards, groups, jnp.array([True, True, False])))  # who counts
    [1. 5. 1.]
  """
  return group_sum(x, group_ids, where) / jnp.maximum(group_count(group_ids, where), 1)


def group_var(
  x: Array, group_ids: Array, where: Array | None = None, *, ddof: int = 1
) -> Array:
  """[N]: two-pass variance of x over the group; 0 where fewer than ddof + 1 are counted.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 5.0, 0.0]), jnp.array([7, 4, 7])
    >>> print(masking.group_var(rewards, groups), masking.group_var(rewards, groups, ddof=0))
    [0.5 0.  0.5] [0.25 0.   0.25]
  """
  counted = group_ids >= 0 if where is None else where & (group_ids >= 0)
  centred = zero_where_not(widen(x) - group_mean(x, group_ids, where), counted)
  count = group_count(group_ids, where) - ddof
  total = group_sum(centred**2, group_ids, where)
  return jnp.where(count > 0, total / jnp.maximum(count, 1), 0)


def group_max(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """[N]: maximum of x over the group; −inf where nothing is counted.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 5.0, 0.0]), jnp.array([7, 4, 7])
    >>> print(masking.group_max(rewards, groups))
    [1. 5. 1.]
  """
  x = widen(x)
  return _over_group(
    lambda member: jnp.max(jnp.where(member, x, -jnp.inf)), group_ids, where
  )


def group_min(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """[N]: minimum of x over the group; +inf where nothing is counted.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 5.0, 0.0]), jnp.array([7, 4, 7])
    >>> print(masking.group_min(rewards, groups))
    [0. 5. 0.]
  """
  return -group_max(-widen(x), group_ids, where)


def group_is_constant(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """bool [N]: max − min ≤ 1e-6 · max(1, max|x|) in the sample's group (a singleton is constant).

  Examples:
    >>> rewards, groups = jnp.array([1.0, 5.0, 0.0]), jnp.array([7, 4, 7])
    >>> print(masking.group_is_constant(rewards, groups))
    [False  True False]
  """
  top = group_max(x, group_ids, where)
  bottom = group_min(x, group_ids, where)
  scale = jnp.maximum(1, jnp.maximum(jnp.abs(top), jnp.abs(bottom)))
  empty = group_count(group_ids, where) == 0
  return empty | (top - bottom <= 1e-6 * scale)


def group_rank(x: Array, group_ids: Array, where: Array | None = None) -> Array:
  """int32 [N]: how many counted members of the group come before the sample in descending order.

  Ties are broken by the order in the array, so ranks within a group are 0, 1, 2, …

  Examples:
    >>> rewards, groups = jnp.array([1.0, 5.0, 0.0]), jnp.array([7, 4, 7])
    >>> print(masking.group_rank(rewards, groups))  # 0 is the best of its group
    [0 0 1]
  """
  x = widen(x)
  index = jnp.arange(x.shape[0])

  def count(member, value, place):
    before = (x > value) | ((x == value) & (index < place))
    return jnp.sum(member & before, dtype=jnp.int32)

  return _over_group(count, group_ids, where, x, index)
