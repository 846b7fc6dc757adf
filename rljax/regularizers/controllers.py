"""Coefficients that follow a measured quantity, and the reference that follows the policy.

A controller is called once after each update with what that update measured, not finite where
nothing was, and returns the coefficient of the next update. `coefficient` is the first one: in a
stage its kl_coef or entropy_coef, so that configs leave it out.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rljax.masking import widen

Array = jax.Array

MAX_ERROR = 0.2  # of the relative error, so that one measurement moves little


def adaptive_kl_init(*, coefficient: float) -> Array:
  """β₀, the first state of `adaptive_kl`.

  Args:
    coefficient: the first coefficient.

  Returns:
    float32 scalar.

  Examples:
    >>> print(regularizers.adaptive_kl_init(coefficient=0.1))
    0.1

  Source: Ziegler et al. 2019, arXiv 1909.08593, section 2.2.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return jnp.asarray(coefficient, jnp.float32)


def adaptive_kl(
  measured: Array,
  num_samples: Array,
  *,
  coefficient: float,
  target: float = 0.1,
  horizon: float = 10000.0,
  state: Array,
) -> tuple[Array, Array]:
  """β ← β·(1 + clip(KL/target − 1, ±0.2)·n/horizon).

  Proportional control in log space: β grows while the KL is above the target. Keep n below
  5·horizon, else one step changes the sign of β.

  Args:
    measured: float scalar, the KL of the last update in the unit of `target`; not finite = β stays.
    num_samples: scalar, samples n of the last update.
    coefficient: the first β; `adaptive_kl_init` takes it.
    target: the KL to hold, nats (per token or per sequence: as measured).
    horizon: samples in which β may change by the factor e^0.2 or so.
    state: float32 scalar, the present β.

  Returns:
    (β of the next update, the next state): float32 scalars without gradient.

  Examples:
    >>> state = regularizers.adaptive_kl_init(coefficient=0.1)
    >>> call, samples = regularizers.adaptive_kl, jnp.array(1000)
    >>> for kl in (0.5, 0.0):  # above the target of 0.1, then below
    ...   beta, state = call(jnp.array(kl), samples, coefficient=0.1, state=state)
    ...   print(beta)
    0.102
    0.1

  Source: Ziegler et al. 2019, arXiv 1909.08593, section 2.2; public implementations (target 0.1,
    horizon 10000).
  Differs from the source: n/horizon in the place of its gain 0.1, as in public implementations; the
    rule for what was not measured.
  Fidelity: faithful
  """
  del coefficient  # it is in the state
  measured = widen(measured)
  error = jnp.clip(measured / target - 1, -MAX_ERROR, MAX_ERROR)
  moved = state * (1 + error * num_samples / horizon)
  state = _constant(jnp.where(jnp.isfinite(measured), moved, state))
  return state, state


def adaptive_entropy_init(*, coefficient: float) -> Array:
  """c₀, the first state of `adaptive_entropy`.

  Args:
    coefficient: the first coefficient.

  Returns:
    float32 scalar.

  Examples:
    >>> print(regularizers.adaptive_entropy_init(coefficient=0.01))
    0.01

  Source: He et al. 2025, arXiv 2505.22312 (Skywork-OR1).
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return jnp.asarray(coefficient, jnp.float32)


def adaptive_entropy(
  measured: Array,
  num_samples: Array,
  *,
  coefficient: float,
  target: float = 0.2,
  delta: float = 0.005,
  low: float = 0.0,
  high: float = 1.0,
  state: Array,
) -> tuple[Array, Array]:
  """c ← clip(c + delta·sign(target − H), low, high); the coefficient is c·1[H ≤ target].

  The bonus acts only while the entropy is at or below the target, and c remembers how hard it had
  to push.

  Args:
    measured: float scalar, H of the last update, nats per token; not finite = c stays and acts.
    num_samples: scalar, of no influence: all controllers are called alike.
    coefficient: the first c; `adaptive_entropy_init` takes it.
    target: entropy to hold, nats per token.
    delta: step of c.
    low: least c.
    high: largest c.
    state: float32 scalar, the present c.

  Returns:
    (the coefficient of the next update, the next state): float32 scalars without gradient.

  Examples:
    >>> state, call = jnp.array(0.01), regularizers.adaptive_entropy
    >>> # Too low: push harder
    >>> print(call(jnp.array(0.1), jnp.array(8), coefficient=0.01, state=state))
    (Array(0.015, dtype=float32), Array(0.015, dtype=float32))
    >>> print(call(jnp.array(0.9), jnp.array(8), coefficient=0.01, state=state))  # enough: no push
    (Array(0., dtype=float32), Array(0.005, dtype=float32))

  Source: He et al. 2025, arXiv 2505.22312 (Skywork-OR1), adaptive entropy control: formula not
    confirmed against the paper; public implementations for delta and the band.
  Differs from the source: the coefficient has already moved by the entropy that it is compared
    with, since that is the last update's.
  Fidelity: adapted
  """
  del coefficient, num_samples
  measured = widen(measured)
  known = jnp.isfinite(measured)
  moved = jnp.clip(state + delta * jnp.sign(target - measured), low, high)
  state = _constant(jnp.where(known, moved, state))
  return jnp.where(known & (measured > target), 0, state), state


def reference_average(policy: Any, reference: Any, *, rate: float = 0.6) -> Any:
  """π_ref ← rate·π + (1 − rate)·π_ref, leaf by leaf: rate 1 is a refresh, a small one an average.

  Averaged in at least float32 and kept in the reference's dtype: in bfloat16 a rate below 2⁻⁸ may
  round to no change. Leaves that are not floating-point become those of the policy.

  Args:
    policy: pytree of arrays, the present parameters. Constant.
    reference: pytree of the same structure and shapes. Constant.
    rate: share of the policy, fraction.

  Returns:
    pytree as `reference`, without gradient.

  Examples:
    >>> policy, reference = {'w': jnp.ones(2)}, {'w': jnp.zeros(2)}
    >>> print(regularizers.reference_average(policy, reference, rate=0.25))
    {'w': Array([0.25, 0.25], dtype=float32)}

  Source: public implementations: the synchronised reference (0.6 every 512 steps); Gorbatovski et
    al. 2024, arXiv 2404.09656 (TR-DPO's soft update).
  Differs from the source: nothing; the caller decides how often.
  Fidelity: faithful
  """

  def mix(new: Array, old: Array) -> Array:
    if not jnp.issubdtype(old.dtype, jnp.floating):
      return new
    return (rate * widen(new) + (1 - rate) * widen(old)).astype(old.dtype)

  return jax.lax.stop_gradient(jax.tree.map(mix, policy, reference))


def _constant(x: Array) -> Array:
  return jax.lax.stop_gradient(x.astype(jnp.float32))
