"""Generalized advantage estimation over the action tokens of packed samples."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.action_rewards import action_rewards, next_in_segment
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
  critic_lambda: float | None = None,
  length_alpha: float | None = None,
  whiten: bool = True,
  bootstrap_truncated: bool = False,
) -> tuple[Array, Array]:
  """δ_t = r_t + γ·V_{t⁺} − V_t,  A_t = δ_t + γλ·A_{t⁺},  G_t = A_t + V_t; t⁺ the next action token.

  Tokens that the policy did not sample (tool output) are no steps: value and advantage are carried
  through them undiscounted. The sample's reward counts at its last action token; a token reward
  on a masked token counts at the last action token before it, and is dropped where there is none.
  Log T steps, as a segmented scan.

  Special cases: γ = λ = 1 without values is the reward to go · VC-PPO (critic_lambda 1: the value
  function learns from Monte Carlo returns, the policy from λ < 1) · VAPO (also length_alpha 0.05:
  the longer a completion, the nearer its λ is to 1).

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
    critic_lambda: the λ of the returns; None = that of the advantages.
    length_alpha: α of λ_i = max(0, 1 − 1/(α·T_i)) with T_i the number of the sample's action
      tokens, in the place of gae_lambda; None = one λ for all. α 0.05 is meant for completions of
      thousands of tokens: below 1/α = 20 tokens λ is 0.
    whiten: the advantages (not the returns) get mean 0 and variance 1 over action tokens.
    bootstrap_truncated: a truncated sample's last action token also gets γ·V; otherwise the end is
      terminal (V = 0) however it came.

  Returns:
    (advantages [..., T], returns [..., T]); 0 off action tokens. All constant.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> rewards, values = jnp.array([1.0]), jnp.array([[0.2, 0.5, 0.9]])
    >>> where = jnp.zeros((1, 3)), values, *row, jnp.array([False])
    >>> found, returns = advantages.gae(rewards, *where, gae_lambda=0.0, whiten=False)
    >>> print(found, returns)  # one step: V(next) − V, and 1 − V at the end
    [[0.3 0.4 0.1]] [[0.5 0.9 1. ]]
    >>> found, returns = advantages.gae(rewards, *where, gae_lambda=1.0, whiten=False)
    >>> print(found, returns)  # Monte Carlo
    [[0.8 0.5 0.1]] [[1. 1. 1.]]

  Source: Schulman et al. 2016, arXiv 1506.02438, equations 11-16; two λ: Yuan et al. 2025,
    arXiv 2503.01491; λ by length: Yue et al. 2025, arXiv 2504.05118.
  Differs from the source: carry-through of masked tokens; the value after the last token is not at
    hand, so `bootstrap_truncated` takes the value before it; λ by length is not below 0.
  Fidelity: adapted
  """
  reward, action = action_rewards(rewards, token_rewards, action_mask, segment_ids, sample_ids)
  values = masking.zero_where_not(jax.lax.stop_gradient(values), action)
  if bootstrap_truncated:
    cut = masking.sample_to_token(truncated, sample_ids, segment_ids)
    last = masking.last_true_in_segment(action, segment_ids)
    reward = reward + jnp.where(last & cut, gamma * values, 0)
  carried = masking.reverse_segment_scan(jnp.where(action, 0.0, 1.0), values, segment_ids)
  following = next_in_segment(carried, segment_ids)
  delta = jnp.where(action, reward + gamma * following - values, 0)

  def estimate(decay):
    decay = jnp.where(action, gamma * decay, 1.0)
    return jnp.where(action, masking.reverse_segment_scan(decay, delta, segment_ids), 0)

  if length_alpha is not None:
    length = masking.segment_sum(action, segment_ids, sample_ids.shape[-1])
    length = jnp.maximum(masking.segment_to_token(length, segment_ids), 1).astype(delta.dtype)
    gae_lambda = jnp.maximum(1 - 1 / (length_alpha * length), 0)
  advantages = estimate(gae_lambda)
  returns = values + (advantages if critic_lambda is None else estimate(critic_lambda))
  return (whiten_advantages(advantages, action) if whiten else advantages), returns
