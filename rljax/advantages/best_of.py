"""Best of G: only the winner of the group learns, by how much it won."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array

SCALES = ('none', 'group')


@declare(
  denominator='samples', couples='group', traits=('shift_invariant', 'group_relative')
)
def best_of(
  rewards: Array, group_ids: Array, *, scale: str = 'none', epsilon: float = 1e-6
) -> Array:
  """A_i = R_(1) − R_(2) for the sample with the group's largest reward, 0 for the others.

  Under a mean over the G samples of a group its expected gradient is exactly ∇E[max of G] / G, for
  the G of the group and no other; see `pkpo` for any k ≤ G. Two winners get 0.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    scale: 'none', or 'group' = over σ_g + ε with the unbiased σ of the group.
    epsilon: in units of the reward.

  Returns:
    at least float32 [N]; exactly 0 in a group of equal rewards or of one sample.

  Raises:
    ValueError: an unknown scale.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.2, 0.6, 0.0]), jnp.zeros(4, int)
    >>> print(advantages.best_of(rewards, groups))  # what the best is better by than the second
    [0.4 0.  0.  0. ]

  Source: Tang et al. 2025, arXiv 2503.19595; public implementations for the scale.
  Differs from the source: nothing
  Fidelity: faithful
  """
  if scale not in SCALES:
    raise ValueError(f'best_of: scale {scale!r} is not one of {", ".join(SCALES)}')
  rewards, counted = scored(rewards, group_ids)
  keep = counted & ~masking.group_is_constant(rewards, group_ids, counted)
  rank = masking.group_rank(rewards, group_ids, counted)
  winner = keep & (rank == 0)
  second = masking.group_max(rewards, group_ids, counted & (rank > 0))
  result = rewards - jnp.where(winner, second, 0)
  if scale == 'group':
    result = result / (jnp.sqrt(masking.group_var(rewards, group_ids, counted)) + epsilon)
  return jnp.where(winner, result, 0)
