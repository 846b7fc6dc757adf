"""Regression of the log-ratio onto the optimal advantage: A*-PO and OAPL."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare(denominator='samples', couples='sequence')
def a_star(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  optimal_values: Array,
  group_ids: Array,
  *,
  kl_coef: float = 1e-3,
) -> tuple[Array, dict[str, Array]]:
  """(β₂·Σ_t (ℓ − ℓ^ref) − (R − V*))².

  V*(x) = β₁·log mean exp(R/β₁) over samples of the reference, computed once for each prompt before
  training (the paper: β₁ 0.5, 8 samples; prompts that no sample solved are dropped). One sample a
  prompt suffices. The minimum is π ∝ ref·exp(R/β₂) where V* is the value for β₂.

  Args:
    sequence_logprobs: float [N], nats, Σ ℓ; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N]; NaN = unscorable. Constant.
    optimal_values: float [N], V* of the sample's prompt, units of the reward. Constant.
    group_ids: int32 [N]; −1 = unused.
    kl_coef: β₂, units of the reward per nat.

  Returns:
    (loss [N], 0 for unused and unscorable samples; diagnostics: `residual`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])
    >>> rewards, values, groups = jnp.array([1.0, 0.0]), jnp.array([0.7, 0.7]), jnp.array([0, 1])
    >>> loss, seen = losses.a_star(now, ref, rewards, values, groups, kl_coef=0.1)
    >>> print(seen['residual'])  # 0.1·(±1) − (R − V*)
    [-0.2  0.6]

  Source: Brantley et al. 2025, arXiv 2505.20686, and the authors' code.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  counted = jnp.isfinite(rewards) & (group_ids >= 0)
  target = widen(rewards) - widen(optimal_values)
  return _squared_residual(sequence_logprobs, sequence_ref_logprobs, target, counted, kl_coef)


@declare(denominator='samples', couples='group')
def oapl(
  sequence_logprobs: Array,
  sequence_policy_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  value_temperature: float = 1.0,
  kl_coef: float = 1e-3,
) -> tuple[Array, dict[str, Array]]:
  """(β₂·Σ_t (ℓ − ℓ^μ) − (R − V̂))², V̂ = β₁·log mean exp(R/β₁) over the group.

  The policy that sampled, however old, is the reference, so there is no ratio and no clip. V̂ is
  never below the group's mean (its limit for β₁ → ∞; for β₁ → 0 the maximum), so the first
  gradient has advantages of negative mean.

  Args:
    sequence_logprobs: float [N], nats, Σ ℓ; differentiated.
    sequence_policy_logprobs: float [N], nats, Σ ℓ^μ. Constant.
    rewards: float [N]; NaN = unscorable. Constant.
    group_ids: int32 [N]; −1 = unused.
    value_temperature: β₁, units of the reward.
    kl_coef: β₂, units of the reward per nat.

  Returns:
    (loss [N], 0 for unused and unscorable samples; diagnostics: `residual`).

  Examples:
    >>> old, rewards, groups = jnp.array([-3.0, -3.0]), jnp.array([1.0, 0.0]), jnp.array([0, 0])
    >>> loss, seen = losses.oapl(old, old, rewards, groups)
    >>> print(seen['residual'])  # V̂ − R, V̂ = log mean e^R is above the mean of the group
    [-0.3799  0.6201]

  Source: Ritter et al. 2026, arXiv 2602.19362 (OAPL); with two temperatures: Chang et al. 2026,
    arXiv 2603.05218 (KARL).
  Differs from the source: formula not confirmed against the papers, read in reviews of them; the
    two defaults are ours.
  Fidelity: recalled
  """
  counted = jnp.isfinite(rewards) & (group_ids >= 0)
  rewards = masking.zero_where_not(rewards, counted)
  top = jnp.where(counted, masking.group_max(rewards, group_ids, counted), 0)
  mean = masking.group_mean(jnp.exp((rewards - top) / value_temperature), group_ids, counted)
  value = top + value_temperature * jnp.log(jnp.where(counted, mean, 1))
  return _squared_residual(
    sequence_logprobs, sequence_policy_logprobs, rewards - value, counted, kl_coef
  )


def _squared_residual(
  logprobs: Array, other_logprobs: Array, target: Array, counted: Array, kl_coef: float
) -> tuple[Array, dict[str, Array]]:
  constant = masking.zero_where_not(-kl_coef * widen(other_logprobs) - target, counted)
  residual = kl_coef * masking.zero_where_not(logprobs, counted) + sg(constant)
  return jnp.square(residual), {'residual': sg(residual)}
