"""Estimators of KL(π ‖ ref) from one sample of π, as functions of d = ℓ − ℓ^ref.

Their values estimate the KL (k1 and k3 without bias); their gradients do not. The losses of
`regularizers.kl` are built so that the gradient is right.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array

LOG_RATIO_LIMIT = 20.0  # nats


def k1(d: Array) -> Array:
  """d: unbiased, high variance, negative on single tokens. Source: Schulman, 2020, note on KL."""
  return d


def k2(d: Array) -> Array:
  """d²/2: biased, low variance. Source: Schulman, 2020, note on KL."""
  return 0.5 * jnp.square(d)


def k3(d: Array) -> Array:
  """e^{−d} − 1 + d ≥ 0: unbiased, low variance; d is clamped to ±20.

  Source: Schulman, 2020, note on KL. Differs from the source: the clamp.
  """
  d = jnp.clip(d, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
  return jnp.expm1(-d) + d
