"""Discounted returns of turns and of reasoning steps: all tokens of one get the same."""

from __future__ import annotations

import jax

from rljax.advantages.action_rewards import action_rewards
from rljax.advantages.spans import span_returns
from rljax.traits import declare

Array = jax.Array


@declare(couples='sequence')
def turn_returns(
  rewards: Array,
  token_rewards: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  turn_ids: Array,
  *,
  gamma: float = 1.0,
) -> Array:
  """A_t = G_k for all action tokens t of turn k,  G_k = r_k + γ·G_{k+1},  r_k = Σ of its rewards.

  Discounts count turns and not tokens. A reward on tool output belongs to the turn before it, the
  sample's reward to its last turn. Without a baseline: whiten it, or normalise it over a group by
  `step_reinforce` or `turn_leave_one_out`.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0.
    token_rewards: float [..., T], besides `rewards`; wherever in the turn.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    turn_ids: int32 [..., T], the number of the turn in its sample; read at action tokens only.
    gamma: discount per turn.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> rewards, mask = jnp.array([1.0, 0.0]), jnp.ones((2, 2), bool)
    >>> segments = jnp.zeros((2, 2), int)
    >>> places, turns = jnp.array([[0], [1]]), jnp.array([[0, 1], [0, 1]])
    >>> where = jnp.zeros((2, 2)), mask, segments, places, turns
    >>> print(advantages.turn_returns(rewards, *where, gamma=0.5))
    [[0.5 1. ]
     [0.  0. ]]

  Source: public implementations: token rewards by turn and cumulative returns.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  reward, action = action_rewards(rewards, token_rewards, action_mask, segment_ids, sample_ids)
  return span_returns(reward, action, segment_ids, turn_ids, gamma)[0]


@declare(couples='sequence')
def step_returns(
  rewards: Array,
  token_rewards: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  step_ids: Array,
  *,
  gamma: float = 1.0,
) -> Array:
  """A_t = G_k for all action tokens t of step k,  G_k = r_k + γ·G_{k+1},  r_k = Σ of its rewards.

  For process rewards: each step's reward stands in `token_rewards` on any of its tokens. As
  `turn_returns`, with steps inside a completion in the place of turns.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0.
    token_rewards: float [..., T], besides `rewards`.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    step_ids: int32 [..., T], the number of the step in its sample; read at action tokens only.
    gamma: discount per step.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> scores, steps = jnp.array([[0.1, 0.2, 0.0]]), jnp.array([[0, 1, 1]])
    >>> print(advantages.step_returns(jnp.array([1.0]), scores, *row, steps))
    [[1.3 1.2 1.2]]

  Source: public implementations: token rewards by step and cumulative returns.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  reward, action = action_rewards(rewards, token_rewards, action_mask, segment_ids, sample_ids)
  return span_returns(reward, action, segment_ids, step_ids, gamma)[0]
