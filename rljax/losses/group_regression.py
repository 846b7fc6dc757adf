"""Regressions of log-ratios onto rewards within a group: REBEL, GVPO, Reg-GRPO.

ρ = Σ_t (ℓ − ℓ°) of a whole completion. What is fitted is a difference within the group, so the
log-partition of the optimum cancels and nothing depends on where the samples come from. A group's
loss stands on the first of its samples that count.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare(denominator='groups', couples='group')
def rebel(
  sequence_logprobs: Array,
  sequence_old_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  completion_length: Array | None = None,
  *,
  eta: float = 1.0,
) -> tuple[Array, dict[str, Array]]:
  """Mean over the pairs i < j of a group of ((ρ_i − ρ_j)/η − (R_i − R_j))².

  The minimum is π ∝ π°·exp(η·R), a step of natural policy gradient. All pairs come to 2/(G − 1)
  times the sum of squares around the group's mean, which is how it is computed.

  Args:
    sequence_logprobs: float [N], nats, Σ ℓ; differentiated.
    sequence_old_logprobs: float [N], nats, Σ ℓ°. Constant.
    rewards: float [N]; NaN = unscorable. Constant.
    group_ids: int32 [N]; −1 = unused.
    completion_length: float [N], action tokens; a sample without any counts nowhere. None: all do.
    eta: step size, nats per unit of the reward.

  Returns:
    (loss [N] on the first counted sample of each group, 0 elsewhere and for groups of one;
    diagnostics: `log_ratio_spread` the standard deviation of ρ in the group, nats).

  Examples:
    >>> old, rewards, groups = jnp.array([-3.0, -3.0]), jnp.array([1.0, 0.0]), jnp.array([0, 0])
    >>> print(losses.rebel(old, old, rewards, groups)[0])  # nothing learnt yet: (0 − 1)²
    [1. 0.]
    >>> print(losses.rebel(jnp.array([-2.5, -3.5]), old, rewards, groups)[0])  # the minimum, η = 1
    [0. 0.]

  Source: Gao et al. 2024, arXiv 2404.16767, and the authors' code.
  Differs from the source: all pairs of a group, where the paper draws two completions; the authors'
    code has the loss times η².
  Fidelity: adapted
  """
  counted = _counted(rewards, group_ids, completion_length)
  log_ratio, rewards = _within(
    sequence_logprobs, sequence_old_logprobs, rewards, group_ids, counted
  )
  centred = log_ratio / eta - rewards
  squares = masking.group_sum(jnp.square(centred), group_ids, counted)
  freedom = masking.group_count(group_ids, counted) - 1
  loss = _on_first(2 * squares / jnp.maximum(freedom, 1), group_ids, counted)
  return loss, _spread(log_ratio, group_ids, counted)


@declare(denominator='groups', couples='group')
def gvpo(
  sequence_logprobs: Array,
  sequence_old_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  completion_length: Array | None = None,
  *,
  beta: float = 0.1,
) -> tuple[Array, dict[str, Array]]:
  """½/(G − 1)·Σ_i ((R_i − R̄) − β·(ρ_i − ρ̄))² over a group.

  The one minimum is that of the KL-regularized reward, π ∝ π°·exp(R/β), for samples of any policy.
  Its gradient is −β/(G − 1)·Σ_i ((R_i − R̄) − β·(ρ_i − ρ̄))·∇ρ_i: centred rewards, held by the
  covariance of ρ with itself. It equals rebel with η = 1/β times ¼.

  Args:
    sequence_logprobs: float [N], nats, Σ ℓ; differentiated.
    sequence_old_logprobs: float [N], nats, Σ ℓ°. Constant.
    rewards: float [N]; NaN = unscorable. Constant.
    group_ids: int32 [N]; −1 = unused.
    completion_length: float [N], action tokens; a sample without any counts nowhere. None: all do.
    beta: weight of the KL, units of the reward per nat.

  Returns:
    (loss [N] on the first counted sample of each group, 0 elsewhere and for groups of one;
    diagnostics: `log_ratio_spread` the standard deviation of ρ in the group, nats).

  Examples:
    >>> old, rewards, groups = jnp.array([-3.0, -3.0]), jnp.array([1.0, 0.0]), jnp.array([0, 0])
    >>> print(losses.gvpo(old, old, rewards, groups)[0])
    [0.25 0.  ]
    >>> # Β·(ρ_1 − ρ_2) = R_1 − R_2
    >>> print(losses.gvpo(jnp.array([2.0, -8.0]), old, rewards, groups)[0])
    [0. 0.]

  Source: Zhang et al. 2025, arXiv 2504.19599, and the authors' code.
  Differs from the source: nothing (½/(G − 1) is the authors' code's).
  Fidelity: faithful
  """
  counted = _counted(rewards, group_ids, completion_length)
  log_ratio, rewards = _within(
    sequence_logprobs, sequence_old_logprobs, rewards, group_ids, counted
  )
  squares = masking.group_sum(jnp.square(rewards - beta * log_ratio), group_ids, counted)
  freedom = masking.group_count(group_ids, counted) - 1
  loss = _on_first(0.5 * squares / jnp.maximum(freedom, 1), group_ids, counted)
  return loss, _spread(log_ratio, group_ids, counted)


@declare(denominator='groups', couples='group')
def reg_grpo(
  sequence_logprobs: Array,
  sequence_old_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  completion_length: Array | None = None,
  *,
  beta: float = 1.0,
  scale_log_ratio: bool = False,
  min_std: float = 0.1,
  epsilon: float = 1e-6,
) -> tuple[Array, dict[str, Array]]:
  """Σ_i (Â_i − β·(ρ_i − ρ̄))²/G over a group, Â = (R − R̄)/(σ_R + ε).

  A regression onto GRPO's advantage in place of a clipped ratio. `scale_log_ratio` divides ρ − ρ̄
  by its standard deviation in the group (constant, at least `min_std`), for iterations with several
  optimizer steps: in the first step all ρ are 0 and the floor acts.

  Args:
    sequence_logprobs: float [N], nats, Σ ℓ; differentiated.
    sequence_old_logprobs: float [N], nats, Σ ℓ°. Constant.
    rewards: float [N]; NaN = unscorable. Constant.
    group_ids: int32 [N]; −1 = unused.
    completion_length: float [N], action tokens; a sample without any counts nowhere. None: all do.
    beta: advantage per nat.
    scale_log_ratio: whether ρ is normalised like the rewards.
    min_std: floor of that standard deviation, nats.
    epsilon: added to σ_R.

  Returns:
    (loss [N] on the first counted sample of each group, 0 elsewhere and for groups of one;
    diagnostics: `log_ratio_spread` the standard deviation of ρ in the group, nats).

  Examples:
    >>> old, rewards, groups = jnp.array([-3.0, -3.0]), jnp.array([1.0, 0.0]), jnp.array([0, 0])
    >>> print(losses.reg_grpo(old, old, rewards, groups)[0])  # Â = ±0.7071
    [0.5 0. ]
    >>> print(losses.reg_grpo(jnp.array([-2.5, -3.5]), old, rewards, groups)[0])  # on the way there
    [0.0429 0.    ]

  Source: the regressive GRPO of DeepVideo-R1 (2025).
  Differs from the source: ρ is not normalised by default, and never by less than `min_std` nor
    through a differentiated deviation: as published the first gradient is 0/0. A group of equal
    rewards has Â = 0 and is drawn back to π°.
  Fidelity: adapted
  """
  counted = _counted(rewards, group_ids, completion_length)
  constant = masking.group_is_constant(rewards, group_ids, counted)
  log_ratio, centred = _within(
    sequence_logprobs, sequence_old_logprobs, rewards, group_ids, counted
  )
  variance = masking.group_var(centred, group_ids, counted)
  deviation = jnp.sqrt(jnp.where(constant, 1, variance))
  advantages = jnp.where(constant, 0, centred / (deviation + epsilon))
  diagnostics = _spread(log_ratio, group_ids, counted)
  if scale_log_ratio:
    log_ratio = log_ratio / jnp.maximum(diagnostics['log_ratio_spread'], min_std)
  squares = masking.group_sum(jnp.square(advantages - beta * log_ratio), group_ids, counted)
  count = masking.group_count(group_ids, counted)
  return _on_first(squares / jnp.maximum(count, 1), group_ids, counted), diagnostics


def _counted(rewards: Array, group_ids: Array, completion_length: Array | None) -> Array:
  """bool [N]: scored samples with a token that the policy chose.

  On others no weight stands (`weighting.group_mean`), so their group's loss must not either.
  """
  counted = jnp.isfinite(rewards) & (group_ids >= 0)
  return counted if completion_length is None else counted & (completion_length > 0)


def _within(
  logprobs: Array, old_logprobs: Array, rewards: Array, group_ids: Array, counted: Array
) -> tuple[Array, Array]:
  """(ρ − ρ̄, R − R̄) of the counted samples of each sample's group; 0 for the others."""
  log_ratio = masking.zero_where_not(logprobs, counted)
  log_ratio = log_ratio - sg(masking.zero_where_not(old_logprobs, counted))
  rewards = sg(masking.zero_where_not(rewards, counted))

  def centre(x):
    return jnp.where(counted, x - masking.group_mean(x, group_ids, counted), 0)

  return centre(log_ratio), centre(rewards)


def _on_first(x: Array, group_ids: Array, counted: Array) -> Array:
  """x on the first counted sample of each group of two or more; 0 elsewhere."""
  index = jnp.arange(x.shape[0], dtype=jnp.int32)
  first = masking.group_min(index, group_ids, counted) == widen(index)
  several = masking.group_count(group_ids, counted) > 1
  return jnp.where(counted & first & several, x, 0)


def _spread(log_ratio: Array, group_ids: Array, counted: Array) -> dict[str, Array]:
  variance = sg(masking.group_var(log_ratio, group_ids, counted))
  return {'log_ratio_spread': jnp.where(counted, jnp.sqrt(variance), 0)}
