"""SAPO: a smooth gate in place of the clip."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array


@declare(traits=('on_policy_is_reinforce',))
def sapo(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  *,
  tau_positive: float = 1.0,
  tau_negative: float = 1.05,
) -> tuple[Array, dict[str, Array]]:
  """−A·(4/τ)·σ(τ·(r − 1)), r = exp(ℓ − ℓ°), τ = tau_positive where A > 0, else tau_negative.

  The gradient is −A·r·4σ(1−σ)·∇ℓ: REINFORCE on-policy, and it fades as the ratio leaves 1; the
  larger τ, the sooner.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°, of the policy that drew the tokens. Constant.
    advantages: float [..., T]. Constant.
    tau_positive: steepness of the gate where A > 0.
    tau_negative: steepness of the gate elsewhere.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` r, `kl_old` the k3 estimate, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> loss, seen = losses.sapo(new, old, jnp.array([[1.0, 1.0, -1.0]]))
    >>> print(loss)
    [[-2.7599 -2.      1.1487]]

  Source: Gao et al. 2025, arXiv 2511.20347.
  Differs from the source: log-ratios are clamped to ±20.
  Fidelity: faithful
  """
  advantages = ratios.constant(advantages)
  log_ratio = clamp(ratios.difference(logprobs, old_logprobs))
  ratio = jnp.exp(log_ratio)
  tau = jnp.where(advantages > 0, tau_positive, tau_negative)
  gate = 4 / tau * jax.nn.sigmoid(tau * (ratio - 1))
  return -advantages * gate, ratios.diagnostics(ratio, log_ratio)
