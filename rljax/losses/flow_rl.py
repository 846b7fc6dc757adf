"""Trajectory balance: match the reward's distribution instead of its maximum."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamped_exp
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare(denominator='samples', couples='group')
def flow_rl(
  sequence_logprobs: Array,
  sequence_old_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  completion_length: Array,
  log_partition: Array | None = None,
  *,
  beta: float = 15.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  epsilon: float = 1e-6,
) -> tuple[Array, dict[str, Array]]:
  """sg(w)·(log Z + (Σℓ)/T − β·r̂ − (Σℓ^ref)/T)², w = clip(Π π/π°), r̂ = (R − R̄)/(σ + ε).

  The residual is 0 everywhere only where the policy, per token, is the reference tilted by the
  reward, so likely answers are kept besides the best one. R̄ and σ (ddof 1) are the group's.

  Args:
    sequence_logprobs: float [N], nats, Σ ℓ; differentiated.
    sequence_old_logprobs: float [N], nats, Σ ℓ°. Constant.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N]; NaN = unscorable. Constant.
    group_ids: int32 [N]; −1 = unused.
    completion_length: float [N], T, action tokens; a sample without any counts nowhere.
    log_partition: float [N], nats per token, log Z of the sample's prompt; differentiated, learned
      with the policy. None: the group's mean of β·r̂ − (Σℓ − Σℓ^ref)/T, constant.
    beta: nats per token and unit of r̂.
    clip_low: width of the band of w below 1, fraction.
    clip_high: width of the band of w above 1, fraction.
    epsilon: added to σ.

  Returns:
    (loss [N], 0 for samples that do not count; diagnostics: `residual`, nats per token, and
    `ratio_max`, the ratio before its clip).

  Examples:
    >>> now, old, ref = jnp.array([-2.0, -4.0]), jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])
    >>> rewards, groups, length = jnp.array([1.0, 0.0]), jnp.array([0, 0]), jnp.array([2.0, 2.0])
    >>> loss, seen = losses.flow_rl(now, old, ref, rewards, groups, length, beta=1.0)
    >>> print(seen['residual'])  # negative: still too unlikely, per token
    [-0.2071  0.2071]

  Source: Zhu et al. 2025, arXiv 2509.15207, and the authors' code.
  Differs from the source: nothing where `log_partition` is given; without it log Z is the group's
    mean, which is adapted: the paper learns a head on the prompt's hidden states.
  Fidelity: adapted
  """
  counted = jnp.isfinite(rewards) & (group_ids >= 0) & (completion_length > 0)
  length = sg(jnp.where(counted, widen(completion_length), 1))
  now, old, ref, rewards = (
    masking.zero_where_not(x, counted)
    for x in (sequence_logprobs, sequence_old_logprobs, sequence_ref_logprobs, rewards)
  )
  target = beta * _normalized(rewards, group_ids, counted, epsilon) + ref / length
  missing = now / length - sg(target)
  if log_partition is None:
    log_partition = -masking.group_mean(sg(missing), group_ids, counted)
  residual = jnp.where(counted, masking.zero_where_not(log_partition, counted) + missing, 0)
  ratio = sg(clamped_exp(now - old))
  weight = jnp.clip(ratio, 1 - clip_low, 1 + clip_high)
  return weight * jnp.square(residual), {'residual': sg(residual), 'ratio_max': ratio}


def _normalized(rewards: Array, group_ids: Array, counted: Array, epsilon: float) -> Array:
  constant = masking.group_is_constant(rewards, group_ids, counted)
  centred = rewards - masking.group_mean(rewards, group_ids, counted)
  variance = masking.group_var(rewards, group_ids, counted)
  deviation = jnp.sqrt(jnp.where(constant, 1, variance))
  return jnp.where(counted & ~constant, centred / (deviation + epsilon), 0)
