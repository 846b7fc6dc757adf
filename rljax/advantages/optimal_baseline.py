"""OBLR-PO: the group's mean reward, weighted by the squared norms of the scores."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.optimal_token_baseline import score_norm
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(couples='group', traits=('shift_invariant', 'group_relative'))
def optimal_baseline(
  rewards: Array,
  group_ids: Array,
  old_logprobs: Array,
  old_sum_squares: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
) -> Array:
  """A_i = R_i − Σ_j W_j·R_j / Σ_j W_j over the group,  W = Σ_t (1 − 2π_t + Σ_v π_t(v)²).

  The baseline of least variance, E[‖∇log π‖²·R] / E[‖∇log π‖²], with a proxy for the norm of a
  completion's score: 1 − 2π + Σπ² is the squared norm in the logits of one token, and the norms of
  the tokens are added, which is exact where their scores are orthogonal, as in a table of logits.
  Equal W give R − mean; W = length is `length_weighted_baseline`; a baseline for each token is
  `optimal_token_baseline`.

  Args:
    rewards: float [N]; not finite = unscorable: leaves all sums and gets 0.
    group_ids: int32 [N]; −1 = unused, gets 0.
    old_logprobs: float [..., T], nats, log π.
    old_sum_squares: float [..., T], Σ_v π(v)².
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    sample_slots: int32 [N].

  Returns:
    at least float32 [..., T]; 0 off action tokens; exactly 0 in a group of equal rewards or of one
    sample. Constant.

  Examples:
    >>> rewards, groups, mask = jnp.array([1.0, 0.0]), jnp.zeros(2, int), jnp.ones((2, 1), bool)
    >>> where = mask, jnp.zeros((2, 1), int), jnp.array([[0], [1]]), jnp.array([0, 1])
    >>> old, squares = jnp.log(jnp.array([[0.9], [0.1]])), jnp.full((2, 1), 0.82)
    >>> print(advantages.optimal_baseline(rewards, groups, old, squares, *where).ravel())
    [ 0.9878 -0.0122]

  Source: OBLR-PO: A Theoretical Framework for Stable Reinforcement Learning (2025).
  Differs from the source: formula not confirmed against the paper; the norm is a proxy, and the
    sample is in its own baseline; the learning rate by the signal-to-noise ratio is not there.
  Fidelity: recalled
  """
  rewards, counted = scored(rewards, group_ids)
  arrays = (jax.lax.stop_gradient(x) for x in (old_logprobs, old_sum_squares))
  action = action_mask & masking.sample_to_token(counted, sample_ids, segment_ids)
  norm = score_norm(*(masking.zero_where_not(x, action) for x in arrays))
  places = (segment_ids, sample_slots, sample_ids.shape[-1])
  weight = masking.token_to_sample_sum(norm, action, *places)
  total = masking.group_sum(weight, group_ids, counted)
  baseline = masking.group_sum(weight * rewards, group_ids, counted)
  baseline = baseline / jnp.where(total > 0, total, 1)
  keep = counted & ~masking.group_is_constant(rewards, group_ids, counted)
  result = jnp.where(keep, rewards - baseline, 0)
  result = masking.sample_to_token(result, sample_ids, segment_ids)
  return jnp.where(action, result, 0)
