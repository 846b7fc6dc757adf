"""A Flax Linen module as a `Policy`; without a cache of its own, the past is recomputed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rljax.models.recomputing import without_cache
from rljax.structs import Policy

Array = jax.Array
PyTree = Any


def from_linen(
  module: Any,
  params_axes: PyTree = None,
  *,
  head: Callable[[PyTree], PyTree] | None = None,
  unembed: Callable[[PyTree, Array], Array] | None = None,
  value: Callable[[PyTree, Array], Array] | None = None,
) -> Policy:
  """A `Policy` of a causal language model that is a Linen module.

  The module is called as `module.apply({'params': params}, tokens, positions, segment_ids)` on
  int32 [R, T] arrays and returns logits [R, T, V], or hidden [R, T, D] if `unembed` is given. A
  token must see its own segment only, at positions up to its own. The sampler's cache holds tokens:
  each step runs the module over the whole row, which is right and slow (T times the work).

  Args:
    module: the Linen module; its only collection is 'params'.
    params_axes: logical axes as in `Policy.axes`; None = the module's own partitioning metadata, or
      none: replicated.
    head: `params -> what unembed reads`; None = all params.
    unembed: `(head, hidden) -> logits`; None = the module returns logits, which then stand in the
      place of `hidden` (so chunked log-probs save no memory).
    value: `(params, hidden) -> [...]`; None = no value head.

  Raises:
    ValueError: the module has other collections than 'params', or is asked for prefix_ids.

  Examples:
    >>> from flax import linen
    >>> class Bigram(linen.Module):
    ...   @linen.compact
    ...   def __call__(self, tokens, positions, segment_ids):
    ...     return linen.Embed(8, 8)(tokens)
    >>> policy = models.from_linen(Bigram())
    >>> print(jax.tree.map(jnp.shape, jax.eval_shape(policy.init, jax.random.key(0))))
    {'Embed_0': {'embedding': (8, 8)}}
  """

  def variables(key: Array) -> PyTree:
    dummy = jnp.zeros((1, 2), jnp.int32)
    made = module.init(key, dummy, jnp.arange(2, dtype=jnp.int32)[None, :], dummy)
    others = sorted(set(made) - {'params'})
    if others:
      raise ValueError(f'from_linen: {type(module).__name__} has collections {", ".join(others)}')
    return made['params']

  def init(key: Array) -> PyTree:
    from flax.core import meta

    return meta.unbox(variables(key))

  return without_cache(
    'from_linen',
    lambda params, *rows: module.apply({'params': params}, *rows),
    init=init,
    head=head,
    unembed=unembed,
    axes=_axes(variables) if params_axes is None else params_axes,
    value=value,
  )


def _axes(variables: Callable[[Array], PyTree]) -> PyTree:
  """Logical axes by the partitioning metadata of the module's parameters."""
  from flax.core import meta

  boxed = jax.eval_shape(variables, jax.random.key(0))

  def leaf(x):
    names = tuple(x.names) if isinstance(x, meta.Partitioned) else ()
    return names + (None,) * (meta.unbox(x).ndim - len(names))

  return jax.tree.map(leaf, boxed, is_leaf=lambda x: isinstance(x, meta.AxisMetadata))
