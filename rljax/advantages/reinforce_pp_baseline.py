"""REINFORCE++ with a group baseline: centred in the group, whitened over tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.advantages.whiten import whiten
from rljax.traits import declare

Array = jax.Array


@declare(couples='batch', traits=('shift_invariant', 'scale_invariant', 'group_relative'))
def reinforce_pp_baseline(
  rewards: Array,
  group_ids: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  epsilon: float = 1e-8,
  ddof: int = 1,
  no_std: bool = False,
  keep_zero_variance: bool = False,
) -> Array:
  """A = whiten over all action tokens of the batch of R − μ_group.

  Whitening over tokens takes off a mean that is weighted by length, so R = μ does not stay at 0.

  Args:
    rewards: float [N]; not finite = unscorable: leaves all statistics and gets 0.
    group_ids: int32 [N]; −1 = unused, gets 0.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    epsilon: added to the variance.
    ddof: of the variance.
    no_std: the mean only is taken off.
    keep_zero_variance: False = groups of equal rewards (or of one sample) get 0 after the
      whitening; True = they keep (0 − mean)/σ, as in public implementations, and then the
      estimator is not group-relative. They count in the mean and in σ either way.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.zeros(2, int)
    >>> mask, places = jnp.array([[True, True], [True, False]]), jnp.array([[0], [1]])
    >>> where = mask, jnp.zeros((2, 2), int), places
    >>> print(advantages.reinforce_pp_baseline(rewards, groups, *where))
    [[ 0.5774  0.5774]
     [-1.1547  0.    ]]

  Source: Hu et al. 2025, arXiv 2501.03262; public implementations.
  Differs from the source: groups of equal rewards get 0, unless `keep_zero_variance`.
  Fidelity: adapted
  """
  rewards, counted = scored(rewards, group_ids)
  equal = masking.group_is_constant(rewards, group_ids, counted)
  centred = jnp.where(equal, 0, rewards - masking.group_mean(rewards, group_ids, counted))

  def on_tokens(x):
    return masking.sample_to_token(x, sample_ids, segment_ids)

  action = action_mask & on_tokens(counted)
  result = whiten(on_tokens(centred), action, epsilon=epsilon, ddof=ddof, no_std=no_std)
  return result if keep_zero_variance else jnp.where(on_tokens(equal), 0, result)
