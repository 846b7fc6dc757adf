"""Hierarchical GRPO: some roles are compared within their episode, others across the group."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.advantages.subgroups import subgroup_ids
from rljax.traits import declare

Array = jax.Array


@declare(
  denominator='samples',
  couples='group',
  traits=('shift_invariant', 'zero_mean_in_group', 'group_relative'),
)
def hierarchical(
  rewards: Array,
  group_ids: Array,
  role_ids: Array,
  episode_ids: Array,
  *,
  episode_roles: tuple[int, ...] = (1,),
) -> Array:
  """A = R − mean R of the peers: same group and role, and same episode for `episode_roles`.

  For a proposer and its solvers: a group holds the episodes of one task; the attempts at one
  proposed problem are compared with each other, the proposals with each other.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    role_ids: int32 [N].
    episode_ids: int32 [N]; different for different episodes of a group.
    episode_roles: the roles that are compared within their episode.

  Returns:
    at least float32 [N]; exactly 0 where the peers have equal rewards or there are none.

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.zeros(4, int)
    >>> # Proposers, then solvers
    >>> roles, episodes = jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 0, 0])
    >>> print(advantages.hierarchical(rewards, groups, roles, episodes))
    [ 0.5 -0.5  0.   0. ]

  Source: public implementations: prime-rl's hierarchical GRPO.
  Differs from the source: nothing
  Fidelity: faithful
  """
  rewards, counted = scored(rewards, group_ids)
  within = jnp.zeros(role_ids.shape, bool)
  for role in episode_roles:
    within = within | (role_ids == role)
  peers = subgroup_ids(group_ids, role_ids, jnp.where(within, episode_ids, -1))
  keep = counted & ~masking.group_is_constant(rewards, peers, counted)
  return jnp.where(keep, rewards - masking.group_mean(rewards, peers, counted), 0)
