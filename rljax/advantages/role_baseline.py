"""RAE: in self-play, each role is measured by its own running mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


def role_baseline_init(*, num_roles: int = 2) -> Array:
  """float32 [num_roles]: the first baselines, 0.

  Examples:
    >>> print(advantages.role_baseline_init(num_roles=3))
    [0. 0. 0.]
  """
  return jnp.zeros(num_roles, jnp.float32)


@declare(denominator='samples', couples='sequence')
def role_baseline(
  rewards: Array,
  group_ids: Array,
  role_ids: Array,
  *,
  state: Array,
  num_roles: int = 2,
  decay: float = 0.95,
) -> tuple[Array, Array]:
  """A = R − b_role;  then b_role ← decay^n·b_role + (1 − decay^n)·mean R of the role's n samples.

  For games in which roles have opposite rewards: a group mean would be 0 whatever the policy does,
  and one mean for all roles would pay the role that starts. Takes groups of one.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0 and moves nothing. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    role_ids: int32 [N], 0 … num_roles − 1; others get 0. One for each role of each game.
    state: float32 [num_roles], the baselines; `role_baseline_init`.
    num_roles: how many baselines there are.
    decay: of the running mean, per sample.

  Returns:
    (at least float32 [N], the next baselines).

  Examples:
    >>> state, rewards = advantages.role_baseline_init(), jnp.array([1.0, -1.0])
    >>> where = jnp.zeros(2, int), jnp.array([0, 1])  # one group, two roles
    >>> for _ in range(2):
    ...   found, state = advantages.role_baseline(rewards, *where, state=state, decay=0.5)
    ...   print(found, state)
    [ 1. -1.] [ 0.5 -0.5]
    [ 0.5 -0.5] [ 0.75 -0.75]

  Source: Liu et al. 2025, arXiv 2506.24119 (SPIRAL); public implementations.
  Differs from the source: an iteration moves a baseline once, by as much as its n samples would one
    after the other, so that the order of the samples has no influence; all of them are scored
    against the baseline before it.
  Fidelity: adapted
  """
  rewards, counted = scored(rewards, group_ids)
  role = jnp.arange(num_roles, dtype=role_ids.dtype)
  member = (role_ids[None] == role[:, None]) & counted[None]  # [num_roles, N]
  baseline = jnp.sum(jnp.where(member, state[:, None].astype(rewards.dtype), 0), axis=0)
  advantages = jnp.where(jnp.any(member, axis=0), rewards - baseline, 0)
  shape = member.shape
  mean = masking.masked_mean(jnp.broadcast_to(rewards[None], shape), member, axis=1)
  kept = jnp.power(jnp.asarray(decay, rewards.dtype), jnp.sum(member, axis=1))
  return advantages, kept * state + (1 - kept) * mean
