"""Group-relative advantages: GRPO, Dr. GRPO, batch-std and the other centres and scales."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array

SCOPES = ('group', 'batch', 'none')


@declare(
  denominator='samples',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'zero_mean_in_group', 'group_relative'),
)
def group_normalize(
  rewards: Array,
  group_ids: Array,
  *,
  center: str = 'group',
  scale: str = 'group',
  epsilon: float = 1e-6,
  ddof: int = 1,
) -> Array:
  """A = (R − μ) / (σ + ε) with μ over `center` and σ over `scale`.

  Special cases: GRPO (group, group) · Dr. GRPO (group, none) · batch-std of Lite-PPO and ScaleRL
  (group, batch) · whitening over the batch (batch, batch) · raw rewards (none, none).

  A reward that is not finite is unscorable: it leaves all statistics and its sample gets 0. Where
  center or scale is 'group', a group of equal rewards (max − min ≤ 1e-6·max(1, max|R|)) or of one
  sample gets exactly 0; where one is 'batch', so does a batch of equal rewards. The declared traits
  are those of the defaults: scale='none' is not scale-invariant, scale='batch' not indifferent to a
  shift of one group (σ sees it), and only center='group' has the mean 0 in each group.

  Args:
    rewards: float [N]; NaN = unscorable. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    center: 'group', 'batch' or 'none'.
    scale: 'group', 'batch' or 'none'.
    epsilon: added to σ, in units of the reward.
    ddof: of σ: 1 = unbiased variance, 0 = population variance.

  Returns:
    at least float32 [N].

  Raises:
    ValueError: an unknown center or scale.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> print(advantages.group_normalize(rewards, groups))  # GRPO; all right: exactly 0
    [ 0.7071 -0.7071  0.      0.    ]
    >>> print(advantages.group_normalize(rewards, groups, scale='none'))  # Dr. GRPO
    [ 0.5 -0.5  0.   0. ]
    >>> # Unscorable: 0
    >>> print(advantages.group_normalize(jnp.array([1.0, 0.0, 1.0, jnp.nan]), groups))
    [ 0.7071 -0.7071  0.      0.    ]

  Source: Shao et al. 2024, arXiv 2402.03300, section 4.1.2; Liu et al. 2025, arXiv 2503.20783
    (Dr. GRPO); Liu et al. 2025, arXiv 2508.08221 (group mean with batch std).
  Differs from the source: ε and the unbiased σ are those of public implementations (the paper has
    no ε and does not name the ddof); singletons get 0, where implementations give R.
  Fidelity: faithful
  """
  for name, value in (('center', center), ('scale', scale)):
    if value not in SCOPES:
      raise ValueError(f'group_normalize: {name} {value!r} is not one of {", ".join(SCOPES)}')
  rewards, counted = scored(rewards, group_ids)
  keep = counted
  if 'group' in (center, scale):
    keep = keep & ~masking.group_is_constant(rewards, group_ids, counted)
  if 'batch' in (center, scale):
    keep = keep & ~masking.is_constant(rewards, counted)
  result = rewards
  if center == 'group':
    result = result - masking.group_mean(rewards, group_ids, counted)
  elif center == 'batch':
    result = result - masking.masked_mean(rewards, counted)
  if scale == 'group':
    variance = masking.group_var(rewards, group_ids, counted, ddof=ddof)
  elif scale == 'batch':
    variance = masking.masked_var(rewards, counted, ddof=ddof)
  if scale != 'none':
    result = result / (jnp.sqrt(variance) + epsilon)
  return jnp.where(keep, result, 0)
