"""Rewards as rewards of action tokens, and their sums to the right.

A completion is a sequence of decisions, its action tokens. Tokens that the policy did not sample
(tool output) are no steps: nothing is discounted over them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking

Array = jax.Array


def action_rewards(
  rewards: Array, token_rewards: Array, action_mask: Array, segment_ids: Array, sample_ids: Array
) -> tuple[Array, Array]:
  """Σ of a sample is its reward + its token rewards, each at the action token that it follows.

  The sample's reward counts at its last action token. A token reward on a masked token counts at
  the last action token before it, and is dropped where there is none.

  Args:
    rewards: float [N]; not finite = unscorable: its tokens are no action tokens.
    token_rewards: float [..., T], besides `rewards`.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].

  Returns:
    (rewards [..., T], 0 off action tokens; bool [..., T], the action tokens of scored samples).
    Constant.
  """
  rewards, token_rewards = jax.lax.stop_gradient((masking.widen(rewards), token_rewards))
  score = masking.sample_to_token(rewards, sample_ids, segment_ids)
  scored = jnp.isfinite(score) & (segment_ids >= 0)
  action = action_mask & scored
  last = masking.last_true_in_segment(action, segment_ids)
  collected = _collect(token_rewards, action, scored, segment_ids, sample_ids.shape[-1])
  return collected + jnp.where(last, score, 0), action


def returns_to_go(reward: Array, action: Array, segment_ids: Array, gamma: float) -> Array:
  """G_t = r_t + γ·G_{t⁺} with t⁺ the next action token of the sample; 0 off action tokens."""
  decay = jnp.where(action, gamma, 1.0)
  return jnp.where(action, masking.reverse_segment_scan(decay, reward, segment_ids), 0)


def next_in_segment(x: Array, segment_ids: Array) -> Array:
  """x[t + 1] of the same segment, else 0 (False)."""
  moved = jnp.concatenate([x[..., 1:], jnp.zeros_like(x[..., :1])], axis=-1)
  last = jnp.concatenate(
    [masking.starts(segment_ids)[..., 1:], jnp.ones_like(segment_ids[..., :1], bool)], axis=-1
  )
  return jnp.where(last, jnp.zeros((), x.dtype), moved)


def _collect(
  token_rewards: Array, action: Array, scored: Array, segment_ids: Array, num_segments: int
) -> Array:
  """Each action token's reward with those of the masked tokens that follow it."""
  ahead = masking.reverse_segment_scan(jnp.ones(action.shape), action, segment_ids)
  total = masking.segment_to_token(
    masking.segment_sum(action, segment_ids, num_segments), segment_ids
  )
  counted = scored & (action | (ahead < total))  # not before the first action token
  rewards = masking.zero_where_not(token_rewards, counted)
  passes = jnp.where(next_in_segment(action, segment_ids), 0.0, 1.0)
  return jnp.where(action, masking.reverse_segment_scan(passes, rewards, segment_ids), 0)
