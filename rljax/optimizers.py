"""Optimizers as stage functions: optax chains whose hyper-parameters may be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class RateState(NamedTuple):
  """Optimizer steps so far, int32, and the rate of the last one: the metric `update/lr`."""

  count: jax.Array
  learning_rate: jax.Array


def scale_by_rate(rate: Callable[[jax.Array], jax.Array]) -> optax.GradientTransformation:
  """Updates times −rate(steps so far); the rate stands in the state."""

  def init(params):
    del params
    return RateState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))

  def update(updates, state, params=None):
    del params
    now = jnp.asarray(rate(state.count), jnp.float32)
    updates = jax.tree.map(lambda u: -now.astype(u.dtype) * u, updates)
    return updates, RateState(optax.safe_increment(state.count), now)

  return optax.GradientTransformation(init, update)


def none() -> optax.GradientTransformation:
  """No step: for parameters that the update hands on, and that something else moves."""
  return optax.set_to_zero()


def adamw(
  *,
  learning_rate: float = 1e-6,
  b1: float = 0.9,
  b2: float = 0.95,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  clip_norm: float = 1.0,
  warmup_steps: int = 0,
  decay: str = 'constant',
  total_steps: int = 0,
) -> optax.GradientTransformation:
  """AdamW behind a global-norm clip, with warm-up and decay over the stage's optimizer steps.

  Δθ = −lr·s(n)·(m̂/(√v̂ + eps) + weight_decay·θ), gradients first scaled to a norm ≤ clip_norm.

  Args:
    learning_rate: peak lr; traced where it is a float.
    b1, b2, eps: Adam's.
    weight_decay: decoupled, on all leaves.
    clip_norm: bound of the global gradient norm.
    warmup_steps: optimizer steps of linear warm-up.
    decay: 'constant', 'linear' or 'cosine' from the end of the warm-up to 0 at total_steps.
    total_steps: optimizer steps of the stage; 0 = the trainer fills it in.

  Raises:
    ValueError: unknown `decay`.

  Source: Loshchilov & Hutter, "Decoupled weight decay regularization", arXiv 1711.05101.
  Differs from the source: the decay is not scheduled apart from lr (as in optax).
  """
  if decay not in ('constant', 'linear', 'cosine'):
    raise ValueError(f"adamw: decay is {decay!r}; it is one of 'constant', 'linear', 'cosine'")

  def schedule(count):
    rise = jnp.minimum((count + 1) / max(warmup_steps, 1), 1.0)
    past = jnp.clip((count - warmup_steps) / max(total_steps - warmup_steps, 1), 0.0, 1.0)
    fall = {'constant': 1.0, 'linear': 1.0 - past, 'cosine': 0.5 + 0.5 * jnp.cos(jnp.pi * past)}
    return learning_rate * rise * fall[decay]

  return optax.chain(
    optax.clip_by_global_norm(clip_norm),
    optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
    optax.add_decayed_weights(weight_decay),
    scale_by_rate(schedule),
  )
