"""Sums of rewards to the right: REINFORCE, REINFORCE++ and ReMax."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.action_rewards import action_rewards, returns_to_go
from rljax.advantages.whiten import whiten
from rljax.traits import declare

Array = jax.Array


@declare(couples='sequence')
def reward_to_go(
  rewards: Array,
  token_rewards: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  gamma: float = 1.0,
) -> Array:
  """A_t = Σ_{k≥t} γ^{k−t}·r_k over the action tokens of a sample, its reward at the last of them.

  The policy gradient without a baseline; whiten it, or shape it. Without token rewards and with
  γ = 1 it is the sample's reward on each token. Tool output is not discounted over, and a reward
  that falls on it belongs to the action before it.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0.
    token_rewards: float [..., T], besides `rewards` (KL penalties, process rewards).
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    gamma: discount per action token.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(advantages.reward_to_go(jnp.array([1.0]), jnp.array([[0.5, 0.0, 0.0]]), *row))
    [[1.5 1.  1. ]]
    >>> print(advantages.reward_to_go(jnp.array([1.0]), jnp.zeros((1, 3)), *row, gamma=0.5))
    [[0.25 0.5  1.  ]]

  Source: Williams 1992 (REINFORCE); Sutton et al. 1999, "Policy gradient methods for reinforcement
    learning with function approximation".
  Differs from the source: nothing.
  Fidelity: faithful
  """
  reward, action = action_rewards(rewards, token_rewards, action_mask, segment_ids, sample_ids)
  return returns_to_go(reward, action, segment_ids, gamma)


@declare(couples='batch', traits=('scale_invariant',))
def reinforce_pp(
  rewards: Array,
  token_rewards: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  gamma: float = 1.0,
  epsilon: float = 1e-8,
  ddof: int = 1,
  no_std: bool = False,
) -> Array:
  """A = whiten over all action tokens of the batch of G_t = Σ_{k≥t} γ^{k−t}·r_k.

  REINFORCE++: no value function and no group; the baseline is the mean return of all tokens. The
  penalty −β·k1 belongs into `token_rewards`. One sample a prompt is enough.

  Args:
    rewards: float [N]; not finite = unscorable: gets 0 and has no part in the whitening.
    token_rewards: float [..., T], besides `rewards`.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    gamma: discount per action token.
    epsilon: added to the variance.
    ddof: of the variance.
    no_std: the mean only is taken off.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(advantages.reinforce_pp(jnp.array([1.0]), jnp.array([[1.0, 1.0, 0.0]]), *row))
    [[ 1.  0. -1.]]

  Source: Hu et al. 2025, arXiv 2501.03262; public implementations.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  reward, action = action_rewards(rewards, token_rewards, action_mask, segment_ids, sample_ids)
  returns = returns_to_go(reward, action, segment_ids, gamma)
  return whiten(returns, action, epsilon=epsilon, ddof=ddof, no_std=no_std)


@declare(couples='sequence')
def remax(
  rewards: Array,
  token_rewards: Array,
  baseline_rewards: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
) -> Array:
  """A_t = Σ_{k≥t} r_k − R(greedy completion of the prompt).

  One greedy completion a prompt is the baseline; it is scored and not trained on.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0.
    token_rewards: float [..., T], besides `rewards`.
    baseline_rewards: float [N], the reward of the greedy completion of the sample's prompt; not
      finite = its samples get 0.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> zeros, greedy = jnp.zeros((1, 3)), jnp.array([0.4])
    >>> print(advantages.remax(jnp.array([1.0]), zeros, greedy, *row))
    [[0.6 0.6 0.6]]

  Source: Li et al. 2023, arXiv 2310.10505.
  Differs from the source: token rewards count from their token on; the paper has none.
  Fidelity: faithful
  """
  baseline = jax.lax.stop_gradient(masking.widen(baseline_rewards))
  rewards = jnp.where(jnp.isfinite(baseline), masking.widen(rewards), jnp.nan)
  reward, action = action_rewards(rewards, token_rewards, action_mask, segment_ids, sample_ids)
  baseline = masking.sample_to_token(baseline, sample_ids, segment_ids)
  return jnp.where(action, returns_to_go(reward, action, segment_ids, 1.0) - baseline, 0)
