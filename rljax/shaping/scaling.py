"""Rewards clipped and scaled by constants."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def clip_reward(rewards: Array, *, low: float = -10.0, high: float = 10.0) -> Array:
  """R' = min(max(R, low), high).

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    low: in units of the reward.
    high: in units of the reward.

  Returns:
    at least float32 [N].

  Examples:
    >>> print(shaping.clip_reward(jnp.array([-3.0, 0.5, 3.0]), low=-1.0, high=1.0))
    [-1.   0.5  1. ]

  Source: public implementations: OpenRLHF (±10), AReaL (±20).
  Differs from the source: nothing
  Fidelity: faithful
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  return jnp.where(jnp.isfinite(rewards), jnp.clip(rewards, low, high), rewards)


def scale_reward(rewards: Array, *, bias: float = 0.0, scale: float = 1.0) -> Array:
  """R' = (R + bias)·scale.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    bias: in units of the reward; added first.
    scale: factor.

  Returns:
    at least float32 [N].

  Examples:
    >>> print(shaping.scale_reward(jnp.array([0.0, 0.5, 1.0]), bias=-0.5, scale=10.0))
    [-5.  0.  5.]

  Source: public implementations: AReaL.
  Differs from the source: nothing
  Fidelity: faithful
  """
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  return jnp.where(jnp.isfinite(rewards), (rewards + bias) * scale, rewards)
