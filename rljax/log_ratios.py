"""Log-ratios of two policies within bounds: the one limit before any of them is exponentiated."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array

LIMIT = 20.0  # nats; exp stays far from overflow, and no useful ratio is beyond


def clamp(log_ratio: Array) -> Array:
  """The log-ratio within ±20; no gradient beyond."""
  return jnp.clip(log_ratio, -LIMIT, LIMIT)


def clamped_exp(log_ratio: Array) -> Array:
  """The ratio: exp of the log-ratio within ±20."""
  return jnp.exp(clamp(log_ratio))
