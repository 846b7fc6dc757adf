"""Estimators of KL(π ‖ ref) from one sample of π, as functions of d = ℓ − ℓ^ref.

Their values estimate the KL (k1 and k3 without bias); their gradients do not. The losses of
`regularizers.kl` are built so that the gradient is right.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp, clamped_exp

Array = jax.Array
sg = jax.lax.stop_gradient


def k1(d: Array) -> Array:
  """d: unbiased, high variance, negative on single tokens.

  Args:
    d: float [...], nats; differentiated.

  Returns:
    [...], nats.

  Examples:
    >>> print(regularizers.k1(jnp.array([-1.0, 0.0, 1.0])))  # d = ℓ − ℓ^ref
    [-1.  0.  1.]

  Source: Schulman, 2020, note on KL.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return d


def k2(d: Array) -> Array:
  """d²/2: biased, low variance.

  Args:
    d: float [...], nats; differentiated.

  Returns:
    [...], nats.

  Examples:
    >>> print(regularizers.k2(jnp.array([-1.0, 0.0, 1.0])))
    [0.5 0.  0.5]

  Source: Schulman, 2020, note on KL.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return 0.5 * jnp.square(d)


def k3(d: Array) -> Array:
  """e^{−d} − 1 + d ≥ 0: unbiased, low variance.

  Args:
    d: float [...], nats; differentiated.

  Returns:
    [...], nats.

  Examples:
    >>> print(regularizers.k3(jnp.array([-1.0, 0.0, 1.0])))
    [0.7183 0.     0.3679]

  Source: Schulman, 2020, note on KL.
  Differs from the source: d is clamped to ±20.
  Fidelity: faithful
  """
  d = clamp(d)
  return jnp.expm1(-d) + d


def absolute(d: Array) -> Array:
  """|d|, with the derivative 0 at d = 0: no estimate of the KL, an upper bound of k1.

  Args:
    d: float [...], nats; differentiated.

  Returns:
    [...], nats.

  Examples:
    >>> print(regularizers.absolute(jnp.array([-1.0, 0.0, 1.0])))
    [1. 0. 1.]
    >>> print(jax.grad(lambda d: regularizers.absolute(d).sum())(jnp.array([-1.0, 0.0, 1.0])))
    [-1.  0.  1.]

  Source: public implementations: the 'abs' penalty.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return d * sg(jnp.sign(d))


def k1_plus(d: Array) -> Array:
  """Value d, gradient of d²/2.

  Args:
    d: float [...], nats; differentiated.

  Returns:
    [...], nats.

  Examples:
    >>> d = jnp.array([-1.0, 0.0, 2.0])
    >>> print(regularizers.k1_plus(d), jax.grad(lambda d: regularizers.k1_plus(d).sum())(d))
    [-1.  0.  2.] [-1.  0.  2.]

  Source: public implementations: the straight-through 'k1+'.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return with_gradient_of_k2(k1, d)


def k3_plus(d: Array) -> Array:
  """Value e^{−d} − 1 + d, gradient of d²/2.

  Args:
    d: float [...], nats; differentiated.

  Returns:
    [...], nats.

  Examples:
    >>> d = jnp.array([-1.0, 0.0, 2.0])
    >>> print(regularizers.k3_plus(d), jax.grad(lambda d: regularizers.k3_plus(d).sum())(d))
    [0.7183 0.     1.1353] [-1.  0.  2.]

  Source: public implementations: the straight-through 'k3+'.
  Differs from the source: d is clamped to ±20 in the value.
  Fidelity: faithful
  """
  return with_gradient_of_k2(k3, d)


def with_gradient_of_k2(estimator: Callable[[Array], Array], d: Array) -> Array:
  """The value of `estimator`, the gradient d·∇d."""
  return sg(d) * (d - sg(d)) + sg(estimator(d))


def ratio_of(logprobs: Array, other: Array) -> Array:
  """exp(ℓ − ℓ'), the log-ratio clamped to ±20."""
  return clamped_exp(logprobs - other)
