"""TEMPO: the completions of a group are a tree, and its branches have values."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.optimal_token_baseline import action_places, running_sum
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array

SCALES = ('group', 'none')


@declare(couples='group', traits=('shift_invariant', 'scale_invariant', 'group_relative'))
def prefix_tree(
  rewards: Array,
  group_ids: Array,
  tokens: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  *,
  scale: str = 'group',
  epsilon: float = 1e-6,
) -> Array:
  """A_t = (R − μ_g + V(s_{t+1}) − V(s_t))/(σ_g + ε),  V(s) = mean R of the completions through s.

  s_t is the prefix before token t, V(s_0) = μ_g. Where no other completion of the group leaves,
  V stays and the advantage is GRPO's; where one does, the token gets what its branch is better by.
  Over a completion that no other repeats the differences sum to R − μ_g. Independent samples part
  within the first tokens: more is to be had from trees, or from a small vocabulary.

  Compares N² samples for each of T positions and holds N·T floats.

  Args:
    rewards: float [N]; not finite = unscorable: leaves the tree and gets 0.
    group_ids: int32 [N]; −1 = unused, gets 0.
    tokens: int32 [..., T]; read at action tokens only.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    sample_slots: int32 [N].
    scale: 'group', or 'none' for no division.
    epsilon: added to σ, in units of the reward.

  Returns:
    at least float32 [..., T]; 0 off action tokens; exactly 0 in a group of equal rewards or of one
    sample. Constant.

  Raises:
    ValueError: an unknown scale.

  Examples:
    >>> rewards, groups, mask = jnp.array([1.0, 0.0]), jnp.zeros(2, int), jnp.ones((2, 2), bool)
    >>> tokens = jnp.array([[7, 1], [7, 2]])  # they part at the second token
    >>> where = mask, jnp.zeros((2, 2), int), jnp.array([[0], [1]]), jnp.array([0, 1])
    >>> print(advantages.prefix_tree(rewards, groups, tokens, *where, scale='none'))
    [[ 0.5  1. ]
     [-0.5 -1. ]]

  Source: Exploiting Tree Structure for Credit Assignment in RL Training of LLMs (2025).
  Differs from the source: formula not confirmed against the paper, its scaling above all; tool
    output is no part of a prefix, so tools are taken to answer the same call alike.
  Fidelity: recalled
  """
  if scale not in SCALES:
    raise ValueError(f'prefix_tree: scale {scale!r} is not one of {", ".join(SCALES)}')
  rewards, counted = scored(rewards, group_ids)
  keep = counted & ~masking.group_is_constant(rewards, group_ids, counted)
  centred = jnp.where(keep, rewards - masking.group_mean(rewards, group_ids, counted), 0)
  action = action_mask & masking.sample_to_token(keep, sample_ids, segment_ids)
  place, length = action_places(action, segment_ids, sample_ids.shape[-1], sample_slots)
  flat = tokens.reshape(-1)

  def step(carry, k):
    together, before, number = carry
    here, token = k < length, flat[place(k)]
    alike = here[:, None] & here[None] & (token[:, None] == token[None])
    together = together & alike
    total = jnp.sum(jnp.where(together, centred[None], 0), axis=1)
    count = jnp.sum(together, axis=1, dtype=jnp.int32)
    value = total / jnp.maximum(count, 1)
    # Nothing but a branch moves a value, not even in the last bit.
    moved = jnp.where(here & (count < number), value - before, 0)
    return (together, value, count), moved

  group = (group_ids[:, None] == group_ids[None]) & keep[:, None] & keep[None]
  first = (group, jnp.zeros_like(centred), jnp.sum(group, axis=1, dtype=jnp.int32))
  positions = jnp.arange(action.shape[-1], dtype=jnp.int32)
  _, moved = jax.lax.scan(step, first, positions)  # [T, N]

  outcome = centred
  if scale == 'group':
    deviation = jnp.sqrt(masking.group_var(rewards, group_ids, counted)) + epsilon
    outcome, moved = outcome / deviation, moved / deviation[None]
  rank = running_sum(action, segment_ids).astype(jnp.int32) - 1
  sample = jnp.arange(group_ids.shape[0], dtype=jnp.int32)
  sample = masking.sample_to_token(sample, sample_ids, segment_ids)
  index = jnp.where(action, rank * group_ids.shape[0] + sample, 0)
  outcome = masking.sample_to_token(outcome, sample_ids, segment_ids)
  return jnp.where(action, outcome + moved.reshape(-1)[index], 0)
