"""Groups within groups."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def subgroup_ids(group_ids: Array, *keys: Array) -> Array:
  """int32 [N]: one number for each different (group, *keys), in their order; −1 for unused."""
  rows = jnp.stack([group_ids, *keys], axis=1)
  _, ids = jnp.unique(rows, axis=0, size=rows.shape[0], return_inverse=True)
  return jnp.where(group_ids >= 0, ids.reshape(-1), -1).astype(jnp.int32)
