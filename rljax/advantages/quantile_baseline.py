"""QAE: a quantile of the group in place of its mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array

SCALES = ('group', 'none')


@declare(
  denominator='samples',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def quantile_baseline(
  rewards: Array,
  group_ids: Array,
  *,
  quantile: float = 0.4,
  scale: str = 'group',
  epsilon: float = 1e-6,
) -> Array:
  """A = (R − b) / (σ_g + ε), b the smallest reward r of the group with share(R ≤ r) ≥ `quantile`.

  Right and wrong answers: b = 0 where the pass rate is at most 1 − quantile (only the rare right
  ones learn), else 1 (only the wrong ones do); so most samples get 0.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    quantile: fraction of the group, in (0, 1].
    scale: 'group' = over the unbiased σ_g + ε, 'none'.
    epsilon: in units of the reward.

  Returns:
    at least float32 [N]; exactly 0 in a group of equal rewards or of one sample.

  Raises:
    ValueError: an unknown scale.

  Examples:
    >>> groups = jnp.zeros(4, int)
    >>> print(advantages.quantile_baseline(jnp.array([1.0, 0.0, 0.0, 0.0]), groups, scale='none'))
    [1. 0. 0. 0.]
    >>> print(advantages.quantile_baseline(jnp.array([1.0, 1.0, 1.0, 0.0]), groups, scale='none'))
    [ 0.  0.  0. -1.]

  Source: Wu et al. 2025, arXiv 2509.22611.
  Differs from the source: formula not confirmed against the paper beyond right and wrong answers;
    the quantile between two rewards is the lower one.
  Fidelity: recalled
  """
  if scale not in SCALES:
    raise ValueError(f'quantile_baseline: scale {scale!r} is not one of {", ".join(SCALES)}')
  rewards, counted = scored(rewards, group_ids)
  keep = counted & ~masking.group_is_constant(rewards, group_ids, counted)
  size = masking.group_count(group_ids, counted)
  # 0.4 · 5 is above 2 in float32.
  number = jnp.clip(jnp.ceil(quantile * size - 1e-4), 1, jnp.maximum(size, 1))
  at = counted & (masking.group_rank(rewards, group_ids, counted) == size - number)
  result = rewards - masking.group_sum(rewards, group_ids, at)
  if scale == 'group':
    result = result / (jnp.sqrt(masking.group_var(rewards, group_ids, counted)) + epsilon)
  return jnp.where(keep, result, 0)
