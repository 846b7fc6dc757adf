"""OTB: per token, the baseline of least variance that the group's other completions allow."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.action_rewards import action_rewards, returns_to_go
from rljax.advantages.scored import scored
from rljax.log_ratios import clamped_exp
from rljax.traits import declare

Array = jax.Array

POSITIONS_AT_ONCE = 64  # of the comparison of a group at one position


@declare(couples='group', traits=('shift_invariant', 'group_relative'))
def optimal_token_baseline(
  rewards: Array,
  token_rewards: Array,
  group_ids: Array,
  old_logprobs: Array,
  old_sum_squares: Array,
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  *,
  max_ratio: float | None = None,
  handle_zero_tail: bool = False,
  epsilon: float = 1e-8,
) -> Array:
  """A_t = G_t − Σ_j G_{j,t}·W_{j,t} / (Σ_j W_{j,t} + ε),  W_t = Σ_{k≤t} (1 − 2π_k + Σ_v π_k(v)²).

  Sums over the completions j of the group that have a t-th action token, the completion itself
  among them; G_t is the reward to go. 1 − 2π + Σπ² is the squared norm of the score in the logits,
  so W_t is that of the completion so far where scores of different tokens are orthogonal. Positions
  count action tokens: tool output shifts nothing. A group of equal rewards or of one sample gets
  exactly 0, without token rewards and but for what `handle_zero_tail` gives.

  Holds N·T floats and compares N² samples for each of T positions, a block at a time.

  Args:
    rewards: float [N]; not finite = unscorable: leaves all sums and gets 0.
    token_rewards: float [..., T], besides `rewards`.
    group_ids: int32 [N]; −1 = unused, gets 0.
    old_logprobs: float [..., T], nats, log π.
    old_sum_squares: float [..., T], Σ_v π(v)².
    policy_logprobs: float [..., T], nats, of the sampling policy.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    sample_slots: int32 [N].
    max_ratio: each term of W_t is multiplied by min(π/π_sampler, max_ratio)², for a loss that is
      weighted by that ratio; None = 1.
    handle_zero_tail: where the longest completion of a group is alone at a position, its baseline
      is 0 (A = G); False = it is the completion's own G (A = 0).
    epsilon: added to Σ W.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> rewards, groups, mask = jnp.array([1.0, 0.0]), jnp.zeros(2, int), jnp.ones((2, 1), bool)
    >>> where = mask, jnp.zeros((2, 1), int), jnp.array([[0], [1]]), jnp.array([0, 1])
    >>> old, squares = jnp.log(jnp.full((2, 1), 0.5)), jnp.full((2, 1), 0.5)
    >>> args = rewards, jnp.zeros((2, 1)), groups, old, squares, old, *where
    >>> print(advantages.optimal_token_baseline(*args).ravel())  # equal norms: R less the mean
    [ 0.5 -0.5]

  Source: Li et al. 2026, arXiv 2602.07078; public implementations.
  Differs from the source: the largest reward of the group is taken off first, which changes A by
    terms of the order of ε; groups of one sample get 0.
  Fidelity: adapted
  """
  rewards, counted = scored(rewards, group_ids)
  top = masking.group_max(rewards, group_ids, counted)
  equal = masking.group_is_constant(rewards, group_ids, counted)
  shifted = jnp.where(counted, jnp.where(equal, 0, rewards - top), jnp.nan)
  reward, action = action_rewards(shifted, token_rewards, action_mask, segment_ids, sample_ids)
  returns = returns_to_go(reward, action, segment_ids, 1.0)
  arrays = (old_logprobs, old_sum_squares, policy_logprobs)
  arrays = (masking.zero_where_not(jax.lax.stop_gradient(x), action) for x in arrays)
  energy = jnp.where(action, _energy(*arrays, max_ratio), 0)
  energy = running_sum(energy, segment_ids)
  place, length = action_places(action, segment_ids, sample_ids.shape[-1], sample_slots)
  # A completion's return where nobody else is left: G, or G − G.
  tail = counted & handle_zero_tail & (masking.group_count(group_ids, counted) > 1)
  lifted = jnp.where(tail, rewards - shifted, 0)

  def at_position(k):
    here, flat = k < length, place(k)
    g, w = returns.reshape(-1)[flat], energy.reshape(-1)[flat]
    total = masking.group_sum(w, group_ids, here)
    baseline = masking.group_sum(w * g, group_ids, here) / (total + epsilon)
    alone = masking.group_count(group_ids, here) <= 1
    return jnp.where(alone, jnp.where(tail, g + lifted, 0), g - baseline)

  positions = jnp.arange(action.shape[-1], dtype=jnp.int32)
  found = jax.lax.map(at_position, positions, batch_size=POSITIONS_AT_ONCE)  # [T, N]
  rank = running_sum(action, segment_ids).astype(jnp.int32) - 1
  sample = jnp.arange(group_ids.shape[0], dtype=jnp.int32)
  sample = masking.sample_to_token(sample, sample_ids, segment_ids)
  flat = jnp.where(action, rank * group_ids.shape[0] + sample, 0)
  return jnp.where(action, found.reshape(-1)[flat], 0)


def score_norm(logprobs: Array, sum_squares: Array) -> Array:
  """‖∂ log π / ∂ logits‖² = 1 − 2π + Σ_v π(v)² of each token."""
  return jnp.maximum(1 - 2 * jnp.exp(logprobs) + sum_squares, 0)


def _energy(logprobs, sum_squares, policy_logprobs, max_ratio):
  """The norm of the score, times the squared ratio to the sampler if it is bounded."""
  energy = score_norm(logprobs, sum_squares)
  if max_ratio is None:
    return energy
  return energy * jnp.minimum(clamped_exp(logprobs - policy_logprobs), max_ratio) ** 2


def running_sum(x: Array, segment_ids: Array) -> Array:
  """Σ_{k≤t} x_k inside each segment."""
  mirrored = (jnp.flip(y, axis=-1) for y in (jnp.ones(x.shape), x, segment_ids))
  return jnp.flip(masking.reverse_segment_scan(*mirrored), axis=-1)


def action_places(
  action: Array, segment_ids: Array, num_segments: int, sample_slots: Array
) -> tuple[Callable[[Array], Array], Array]:
  """(k -> flat slots [N] of the k-th action token of each sample, their number [N])."""
  row, slots = action.shape[-1], jnp.maximum(sample_slots, 0)
  order = jnp.argsort(jnp.where(action, segment_ids, num_segments), axis=-1)  # stable
  count = masking.segment_sum(action, segment_ids, num_segments).astype(jnp.int32)
  begin = (jnp.cumsum(count, axis=-1) - count).reshape(-1)[slots] + slots // num_segments * row
  length = jnp.where(sample_slots >= 0, count.reshape(-1)[slots], 0)
  order = order.reshape(-1)

  def place(k):
    among = jnp.minimum(begin + k, order.shape[0] - 1)
    return slots // num_segments * row + order[among]

  return place, length
