"""Analytic Pass@k training: the normalised advantage of sets of k samples, shared out."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.binomials import binomial_ratio
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array

SCALES = ('group', 'none')


@declare(
  denominator='samples', couples='group', traits=('zero_mean_in_group', 'group_relative')
)
def pass_at_k(
  rewards: Array,
  group_ids: Array,
  *,
  k: int = 4,
  threshold: float = 0.5,
  scale: str = 'group',
) -> Array:
  """A⁺ = (1 − ρ)/σ, A⁻ = (1 − ρ − C(n⁻−1, k−1)/C(G−1, k−1))/σ, ρ = 1 − C(n⁻, k)/C(G, k).

  ρ is the pass@k of the group's G samples, n⁻ of them wrong, σ = √(ρ(1 − ρ)); 0 where σ = 0.
  Without σ the expected gradient under a mean over samples is ∇pass@k·(G − k)/(k·G): it vanishes
  at k = G, so k is best at most G/2, and a group of k samples or fewer gets 0.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    k: how many attempts count as one.
    threshold: a reward of at least this is a right answer.
    scale: 'group' = over σ, 'none'.

  Returns:
    at least float32 [N]; 0 in a group all right, all wrong, of fewer than k wrong, or too small.

  Raises:
    ValueError: k < 1 or an unknown scale.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.zeros(4, int)
    >>> print(advantages.pass_at_k(rewards, groups, k=2))
    [ 1.     -0.3333 -0.3333 -0.3333]
    >>> # Any two have one right
    >>> print(advantages.pass_at_k(jnp.array([1.0, 1.0, 1.0, 0.0]), groups, k=2))
    [0. 0. 0. 0.]

  Source: Chen et al. 2025, arXiv 2508.10751, section on analytical derivation.
  Differs from the source: the rule for groups of k samples or fewer.
  Fidelity: faithful
  """
  if k < 1 or scale not in SCALES:
    raise ValueError(f'pass_at_k: k {k} is below 1, or {scale!r} not of {", ".join(SCALES)}')
  rewards, counted = scored(rewards, group_ids)
  keep = counted & ~masking.group_is_constant(rewards, group_ids, counted)
  right = counted & (rewards >= threshold)
  size = masking.group_count(group_ids, counted).astype(rewards.dtype)
  wrong = size - masking.group_count(group_ids, right).astype(rewards.dtype)
  whole = jnp.full_like(size, k)
  failed = binomial_ratio(wrong, size, whole, k)  # 1 − ρ
  others_failed = binomial_ratio(wrong - 1, size - 1, whole - 1, k)
  result = failed - jnp.where(right, 0, others_failed)
  keep = keep & (size > k)
  if scale == 'group':
    variance = failed * (1 - failed)
    keep = keep & (variance > 0)
    result = result / jnp.sqrt(jnp.where(variance > 0, variance, 1))
  return jnp.where(keep, result, 0)
