"""PKPO: unbiased for the gradient of the expected maximum of k samples, any k ≤ G."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.binomials import binomial_ratio
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array

BASELINES = ('none', 'loo', 'loo_minus_one')


@declare(
  denominator='samples', couples='group', traits=('shift_invariant', 'group_relative')
)
def pkpo(
  rewards: Array, group_ids: Array, *, k: int = 4, baseline: str = 'loo_minus_one'
) -> Array:
  """A_i = k·(mean over sets I ∋ i of k samples of max_{j∈I} R_j − baseline_i).

  Under a mean over the samples of a group its expected gradient is ∇E[max of k], for any rewards;
  with right and wrong answers that is ∇pass@k, and without a baseline a right answer gets k, a
  wrong one k·(1 − C(G−1−c, k−1) / C(G−1, k−1)) with c right answers of G. k = 1 with 'loo' is RLOO.
  A small k sharpens, a large one keeps attempts different; papers anneal it from 8 to 1.

  Baselines use the other samples only, so all are unbiased: 'loo_minus_one' subtracts from each set
  the maximum of its other k − 1 samples (A_i is what i adds, never negative), 'loo' the mean over
  sets of k others (the advantages of a group sum to 0). Groups with fewer than k samples (k + 1
  with 'loo') take the largest k that they have. With k = 1 nothing else is in the set, and
  'loo_minus_one' is 'loo'.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    k: how many samples the maximum is over.
    baseline: 'none', 'loo' or 'loo_minus_one'.

  Returns:
    at least float32 [N]; with a baseline exactly 0 in a group of equal rewards or of one sample.

  Raises:
    ValueError: k < 1 or an unknown baseline.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.zeros(4, int)
    >>> print(advantages.pkpo(rewards, groups, k=2))
    [2. 0. 0. 0.]
    >>> print(advantages.pkpo(rewards, groups, k=1, baseline='loo'))  # leave-one-out
    [ 1.     -0.3333 -0.3333 -0.3333]

  Source: Walder and Karkhanis 2025, arXiv 2505.15201, equations 19, 29 and 33.
  Differs from the source: times G, for a mean over samples in place of a sum. 'loo' averages this
    scaled form over the others, so that a constant added to the rewards cancels (equation 29 as it
    stands leaves k·(1 − G/(G−1)) of it). Small groups take a smaller k.
  Fidelity: faithful
  """
  if k < 1 or baseline not in BASELINES:
    raise ValueError(f'pkpo: k {k} is below 1, or {baseline!r} not of {", ".join(BASELINES)}')
  if baseline == 'loo_minus_one' and k == 1:
    baseline = 'loo'
  rewards, counted = scored(rewards, group_ids)
  keep = counted
  if baseline != 'none':  # then a shift changes nothing, and small numbers round less
    keep = keep & ~masking.group_is_constant(rewards, group_ids, counted)
    mean = masking.group_mean(rewards, group_ids, counted)
    rewards = masking.zero_where_not(rewards - mean, counted)
  size = masking.group_count(group_ids, counted).astype(rewards.dtype)
  rank = masking.group_rank(rewards, group_ids, counted)
  drawn = jnp.maximum(jnp.minimum(k, size - 1 if baseline == 'loo' else size), 1)
  others, behind = jnp.maximum(size - 1, 1), size - 1 - rank
  at_or_below = _sums_at_or_below(jnp.where(counted, group_ids, -1), rank)

  def best_of_set(beaten, number):
    """Chance that a sample is the best of `number` of the others, of whom it beats `beaten`."""
    ratio = binomial_ratio(beaten, others - 1, number - 1, k)
    return jnp.where(counted & (number > 0), ratio * number / others, 0)

  # The sets are drawn by one sample from its others; whoever draws is itself not among them, so a
  # sample beats one fewer of them where the drawing one is behind it.
  if baseline == 'loo_minus_one':
    share = best_of_set(behind, drawn - 1)
    gain = rewards * at_or_below(share) - at_or_below(share * rewards)
    return jnp.where(keep, drawn * gain, 0)
  share = best_of_set(behind - 1, drawn - 1) * rewards
  above = masking.group_sum(share, group_ids, counted) - at_or_below(share)
  result = above + rewards * binomial_ratio(behind, others, drawn - 1, k)
  if baseline == 'loo':
    share = best_of_set(behind - 1, drawn) * rewards
    above = masking.group_sum(share, group_ids, counted) - at_or_below(share)
    share = best_of_set(behind, drawn) * rewards
    result = result - (above + at_or_below(share) - share)
  return jnp.where(keep, drawn * result, 0)


def _sums_at_or_below(group_ids: Array, rank: Array) -> Callable[[Array], Array]:
  """x [N] -> [N]: Σ x over the samples of the group from one's own place downwards."""
  block = max(1, masking.groups.PAIRS_AT_ONCE // max(group_ids.shape[0], 1))

  def run(x):
    def one(own):
      return masking.masked_sum(x, (group_ids == own[0]) & (rank >= own[1]))

    if group_ids.shape[0] <= block:
      return jax.vmap(one)((group_ids, rank))
    return jax.lax.map(one, (group_ids, rank), batch_size=block)

  return run
