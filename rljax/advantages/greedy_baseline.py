"""ReMax: the baseline is the reward of the greedy completion."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(denominator='samples', couples='sequence')
def greedy_baseline(rewards: Array, group_ids: Array, baseline_rewards: Array) -> Array:
  """A = R − R(greedy completion of the prompt).

  The sample's whole reward on every token. Any other baseline that does not depend on the sample
  does too: a mean over completions of a frozen policy, for one. Takes groups of one.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    baseline_rewards: float [N], of the sample's prompt; not finite = its samples get 0. Constant.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> print(advantages.greedy_baseline(rewards, groups, jnp.array([0.0, 0.0, 1.0, 1.0])))
    [1. 0. 0. 0.]

  Source: Li et al. 2024, arXiv 2310.10505, algorithm 1.
  Differs from the source: nothing
  Fidelity: faithful
  """
  baseline, known = scored(baseline_rewards, group_ids)
  rewards, counted = scored(rewards, group_ids)
  return jnp.where(counted & known, rewards - baseline, 0)
