"""AsymRE: a baseline below the mean, for samples of other policies."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(denominator='samples', couples='group', traits=('shift_invariant',))
def asymmetric_baseline(
  rewards: Array, group_ids: Array, *, delta_v: float = -0.1
) -> Array:
  """A = R − V,  V = μ_g + δ_V, δ_V < 0.

  For −A·ℓ without importance weights on off-policy samples: the policy improves as long as V is
  below the mean reward of the policy that drew them, and loses its support where V is not. A group
  of equal rewards, or of one sample, gets −δ_V: it is learned by heart, a little.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    delta_v: in units of the reward.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> print(advantages.asymmetric_baseline(rewards, groups))  # the baseline is 0.1 below the mean
    [ 0.6 -0.4  0.1  0.1]

  Source: Arnal et al. 2025, arXiv 2506.20520.
  Differs from the source: the default of δ_V is not confirmed against the paper.
  Fidelity: recalled
  """
  rewards, counted = scored(rewards, group_ids)
  value = masking.group_mean(rewards, group_ids, counted) + delta_v
  return jnp.where(counted, rewards - value, 0)
