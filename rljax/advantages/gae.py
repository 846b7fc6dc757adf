"""Generalized advantage estimation over the action tokens of packed samples."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.whiten import whiten as whiten_advantages
from rljax.traits import declare

Array = jax.Array


@declare(couples='batch')
def gae(
  rewards: Array,
  token_rewards: Array,
  values: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  truncated: Array,
  *,
  gamma: float = 1.0,
  gae_lambda: float = 0.95,
  whiten: bool = True,
  bootstrap_truncated: bool = False,
) -> tuple[Array, Array]:
  """δ_t = r_t + γ·V_{t⁺} − V_t,  A_t = δ_t + γλ·A_{t⁺},  G_t = A_t + V_t; t⁺ the next action token.

  Tokens that the policy did not sample (tool output) are no steps: value and advantage are carried
  through them undiscounted. The sample's reward counts at its last action token; a token reward
  on a masked token counts at the last action token before it, and is dropped where there is none.
  Log T steps, as a segmented scan. Special cases: γ = λ = 1 without values is the reward to go.

  Args:
    rewards: float [N]; not finite = unscorable: its sample gets 0 and no part in the whitening.
    token_rewards: float [..., T], besides `rewards`.
    values: float [..., T]; values[t] is the value of the state in which tokens[t] is chosen.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    truncated: bool [N], ended by a limit.
    gamma: discount per action token.
    gae_lambda: 1 = Monte Carlo, 0 = one step.
    whiten: the advantages (not the returns) get mean 0 and variance 1 over action tokens.
    bootstrap_truncated: a truncated sample's last action token also gets γ·V; otherwise the end is
      terminal (V = 0) however it came.

  Returns:
    (advantages [..., T], returns [..., T]); 0 off action tokens. All constant.

  Source: Schulman et al. 2016, arXiv 1506.02438, equations 11-16.
  Differs from the source: carry-through of masked tokens; the value after the last token is not at
    hand, so `bootstrap_truncated` takes the value before it.
  """
  arrays = (rewards, token_rewards, values)
  rewards, token_rewards, values = jax.lax.stop_gradient([masking.widen(x) for x in arrays])
  score = masking.sample_to_token(rewards, sample_ids, segment_ids)
  scored = jnp.isfinite(score) & (segment_ids >= 0)
  action = action_mask & scored
  values = masking.zero_where_not(values, action)
  last = masking.last_true_in_segment(action, segment_ids)
  reward = _collect(token_rewards, action, scored, segment_ids, sample_ids.shape[-1])
  reward = reward + jnp.where(last, score, 0)
  if bootstrap_truncated:
    cut = masking.sample_to_token(truncated, sample_ids, segment_ids)
    reward = reward + jnp.where(last & cut, gamma * values, 0)
  carried = masking.reverse_segment_scan(jnp.where(action, 0.0, 1.0), values, segment_ids)
  delta = jnp.where(action, reward + gamma * _next(carried, segment_ids) - values, 0)
  decay = jnp.where(action, gamma * gae_lambda, 1.0)
  advantages = masking.reverse_segment_scan(decay, delta, segment_ids)
  advantages = jnp.where(action, advantages, 0)
  returns = advantages + values
  return (whiten_advantages(advantages, action) if whiten else advantages), returns


def _next(x: Array, segment_ids: Array) -> Array:
  """x[t + 1] of the same segment, else 0."""
  moved = jnp.concatenate([x[..., 1:], jnp.zeros_like(x[..., :1])], axis=-1)
  last = jnp.concatenate(
    [masking.starts(segment_ids)[..., 1:], jnp.ones_like(segment_ids[..., :1], bool)], axis=-1
  )
  return jnp.where(last, 0, moved)


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
  passes = jnp.where(_next(action.astype(jnp.float32), segment_ids) > 0, 0.0, 1.0)
  return jnp.where(action, masking.reverse_segment_scan(passes, rewards, segment_ids), 0)
