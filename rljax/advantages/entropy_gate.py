"""AEPO: what is worse than the group teaches nothing while the policy is too undecided."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.traits import declare

Array = jax.Array


def entropy_gate_init() -> Array:
  """bool scalar: whether negative advantages are masked; at first they are not.

  Examples:
    >>> print(advantages.entropy_gate_init())
    False
  """
  return jnp.zeros((), bool)


@declare()
def entropy_gate(
  advantages: Array,
  action_mask: Array,
  entropy: Array,
  *,
  state: Array,
  low: float = 0.1,
  high: float = 0.3,
) -> tuple[Array, Array]:
  """max(A, 0) while the gate is shut, else A; shut above H = high, open below low, else as before.

  H is the mean entropy of the sampled tokens. Pushing down what was sampled spreads probability
  over everything else, so a policy whose entropy runs away learns from its successes alone, until
  it has come down to `low`. What is masked is a zero in the average of the loss.

  Args:
    advantages: float [..., T].
    action_mask: bool [..., T]; the other tokens get 0.
    entropy: float [..., T], nats, of the sampler.
    state: bool scalar, shut; `entropy_gate_init`.
    low: at or below it the gate opens, nats per token.
    high: above it the gate shuts, nats per token.

  Returns:
    (at least float32 [..., T], the next state). Constant.

  Examples:
    >>> found, mask = jnp.array([[1.0, -1.0]]), jnp.ones((1, 2), bool)
    >>> shut = advantages.entropy_gate_init()
    >>> for entropy in (0.5, 0.2, 0.05):  # too high, in between, low again
    ...   gated, shut = advantages.entropy_gate(found, mask, jnp.full((1, 2), entropy), state=shut)
    ...   print(gated, shut)
    [[1. 0.]] True
    [[1. 0.]] True
    [[ 1. -1.]] False

  Source: QwenLong-L1.5 (2025), adaptive entropy-controlled policy optimization (AEPO).
  Differs from the source: formula not confirmed against the paper; thresholds are in nats of the
    policy at hand, and H is of the samples of this iteration.
  Fidelity: recalled
  """
  advantages = masking.zero_where_not(jax.lax.stop_gradient(advantages), action_mask)
  mean = masking.masked_mean(jax.lax.stop_gradient(entropy), action_mask)
  shut = jnp.where(mean > high, True, jnp.where(mean > low, state, False))
  shut = jnp.where(jnp.any(action_mask), shut, state)
  return jnp.where(shut, jnp.maximum(advantages, 0), advantages), shut
