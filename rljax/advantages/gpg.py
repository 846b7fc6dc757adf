"""GPG: the centred reward, made larger by what groups without a signal take away."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array

ALPHAS = ('groups', 'nonzero_rewards')


@declare(
  denominator='samples',
  couples='batch',
  traits=('shift_invariant', 'zero_mean_in_group', 'group_relative'),
)
def gpg(
  rewards: Array, group_ids: Array, *, alpha: str = 'groups', f_norm: float = 1.0
) -> Array:
  """A = α·(R − μ_g) / f_norm, α = B / (B − M), M samples of groups with equal rewards.

  α keeps the size of the gradient when groups of equal rewards dilute the mean over the B samples.
  With α = 1 it is Dr. GRPO.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0 and counts nowhere. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    alpha: what the samples without a signal are: 'groups' = those of groups of equal rewards (or of
      one sample), 'nonzero_rewards' = those with the reward 0, as in one public implementation;
      then a shift of the rewards changes the result.
    f_norm: in units of the reward.

  Returns:
    at least float32 [N]; exactly 0 in a group of equal rewards or of one sample.

  Raises:
    ValueError: an unknown alpha.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> # Half of the batch says nothing, the rest weighs double
    >>> print(advantages.gpg(rewards, groups))
    [ 1. -1.  0.  0.]

  Source: Chu et al. 2025, arXiv 2504.02546; the authors' code for M.
  Differs from the source: no drawing again where fewer than half of the samples have a signal.
  Fidelity: faithful
  """
  if alpha not in ALPHAS:
    raise ValueError(f'gpg: alpha {alpha!r} is not one of {", ".join(ALPHAS)}')
  rewards, counted = scored(rewards, group_ids)
  keep = counted & ~masking.group_is_constant(rewards, group_ids, counted)
  signal = keep if alpha == 'groups' else counted & (rewards != 0)
  factor = jnp.sum(counted) / jnp.maximum(jnp.sum(signal), 1) / f_norm
  centred = rewards - masking.group_mean(rewards, group_ids, counted)
  return jnp.where(keep, factor.astype(rewards.dtype) * centred, 0)
