"""Which samples count in the statistics of an estimator."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def scored(rewards: Array, group_ids: Array) -> tuple[Array, Array]:
  """(rewards with 0 where they do not count, bool [N]: finite and used); constant."""
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  counted = jnp.isfinite(rewards) & (group_ids >= 0)
  return masking.zero_where_not(rewards, counted), counted
