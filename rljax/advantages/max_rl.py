"""MaxRL: towards the likelihood of a right answer, not its probability."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(
  denominator='samples',
  couples='group',
  traits=('scale_invariant', 'zero_mean_in_group', 'group_relative'),
)
def max_rl(rewards: Array, group_ids: Array, *, all_wrong: float = 0.0) -> Array:
  """A = (R − μ_g) / μ_g; `all_wrong` in a group with μ_g ≤ 0.

  For right (1) and wrong (0) answers of probability p and G samples its expected gradient is
  exactly that of −Σ_{k=1}^{G−1} (1 − p)^k / k, the series of log p up to G − 1; with all_wrong = −1
  up to G. At most G − 1, so it needs no bound at the usual G. Not for negative rewards.

  Args:
    rewards: float [N], ≥ 0; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    all_wrong: the advantage in a group without a right answer. With 0 such prompts are left alone;
      what is not 0 is neither group-relative nor of mean 0.

  Returns:
    at least float32 [N]; exactly 0 in a group of equal positive rewards.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> # A rare success
    >>> print(advantages.max_rl(jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.zeros(4, int)))
    [ 3. -1. -1. -1.]
    >>> print(advantages.max_rl(rewards, groups))
    [ 1. -1.  0.  0.]

  Source: Tajwar et al. 2026, arXiv 2602.02710.
  Differs from the source: nothing
  Fidelity: faithful
  """
  rewards, counted = scored(rewards, group_ids)
  mean = masking.group_mean(rewards, group_ids, counted)
  hopeful = mean > 0
  keep = ~masking.group_is_constant(rewards, group_ids, counted)
  result = jnp.where(keep, (rewards - mean) / jnp.where(hopeful, mean, 1), 0)
  return jnp.where(counted, jnp.where(hopeful, result, all_wrong), 0)
