"""What the cache holds of the choice of experts, for the trainer to make again (routing replay)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
PyTree = Any


def routed(cache: PyTree, row: Array, length: int) -> Array:
  """See `Policy.routed`."""
  drawn_at = lax.dynamic_index_in_dim(cache['drawn_at'], row, keepdims=False)
  given = _of_region(cache['given'], row)[:length]
  out = jnp.full((length, *given.shape[1:]), -1, given.dtype)
  if not drawn_at.shape[0]:  # what was drawn stands at its position too
    return out.at[: given.shape[0]].set(given)
  here = jnp.arange(given.shape[0]) < cache['given_length'][row]
  out = out.at[: given.shape[0]].set(jnp.where(here[:, None, None], given, -1))
  at = jnp.where(drawn_at >= 0, drawn_at, length)
  return out.at[at].set(_of_region(cache['drawn'], row), mode='drop')


def _of_region(stacks: tuple[PyTree, ...], row: Array) -> Array:
  """int16 [tokens, layers with experts, k] of one row."""
  layers = []
  for blocks in (stack['routing'] for stack in stacks if 'routing' in stack):
    own = [lax.dynamic_index_in_dim(x, row, 1, keepdims=False)[:, 0] for x in blocks]
    layers.append(jnp.concatenate(own, axis=1))
  return jnp.moveaxis(jnp.concatenate(layers), 0, 1)
