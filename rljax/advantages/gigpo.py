"""Credit of turns within a group: GiGPO, its step part alone, and turn-level leave-one-out."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.action_rewards import action_rewards
from rljax.advantages.group_normalize import group_normalize
from rljax.advantages.normalize_equal import key_statistics, normalize_equal
from rljax.advantages.spans import from_start, span_returns
from rljax.traits import declare

Array = jax.Array


@declare(couples='group', traits=('scale_invariant',))
def gigpo(
  rewards: Array,
  token_rewards: Array,
  group_ids: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  turn_ids: Array,
  state_ids: Array,
  *,
  step_gamma: float = 0.95,
  episode_weight: float = 1.0,
  step_weight: float = 1.0,
  no_std: bool = False,
  epsilon: float = 1e-6,
  ddof: int = 1,
) -> Array:
  """A_t = w_E·(R − μ_g)/(σ_g + ε) + w_S·(G_k − μ_s)/(σ_s + ε),  G_k = r_k + γ·G_{k+1}, t in turn k.

  μ_g, σ_g over the samples of the prompt's group, R the sum of all rewards of a sample. μ_s, σ_s
  over the turns of the group, of whatever sample, that began in the same state s: the same
  observation with different actions. A state that was met once, or whose returns are all equal,
  gives no step part, and so does a turn without a state.

  Args:
    rewards: float [N]; not finite = unscorable: leaves all statistics and gets 0.
    token_rewards: float [..., T], besides `rewards`; the reward of a turn stands on its tokens or
      on the tool output after it.
    group_ids: int32 [N]; −1 = unused, gets 0.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    sample_slots: int32 [N].
    turn_ids: int32 [..., T], the number of the turn in its sample; read at action tokens only.
    state_ids: int32 [..., T], read at the first action token of each turn: a number for the
      observation that the turn answers, equal for equal ones of a group; negative = none.
    step_gamma: discount per turn.
    episode_weight, step_weight: of the two parts.
    no_std: True = both parts are centred only; the source has both forms.
    epsilon: added to σ, in units of the reward.
    ddof: of σ.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> rewards, groups, mask = jnp.array([1.0, 0.0]), jnp.zeros(2, int), jnp.ones((2, 2), bool)
    >>> segments, places = jnp.zeros((2, 2), int), jnp.array([[0], [1]])
    >>> turns = jnp.array([[0, 1], [0, 1]])
    >>> states = jnp.array([[5, 6], [5, 7]])  # both start in state 5
    >>> where = jnp.zeros((2, 2)), groups, mask, segments, places, jnp.array([0, 1]), turns, states
    >>> print(advantages.gigpo(rewards, *where, no_std=True))
    [[ 0.975  0.5  ]
     [-0.975 -0.5  ]]

  Source: Feng et al. 2025, arXiv 2505.10978; public implementations.
  Differs from the source: ε and the unbiased σ are those of public implementations; what is alone
    gets 0, where they give it its return.
  Fidelity: faithful
  """
  rewards = _scored(rewards, group_ids)
  reward, action = action_rewards(rewards, token_rewards, action_mask, segment_ids, sample_ids)
  returns, start = span_returns(reward, action, segment_ids, turn_ids, step_gamma)
  keys = (masking.sample_to_token(group_ids, sample_ids, segment_ids), state_ids)
  options = dict(no_std=no_std, epsilon=epsilon, ddof=ddof)
  step = normalize_equal(returns, keys, start & (state_ids >= 0), **options)

  places = (segment_ids, sample_slots, sample_ids.shape[-1])
  has_tokens = masking.token_to_sample_sum(action, action, *places) > 0
  total = jnp.where(has_tokens, masking.token_to_sample_sum(reward, action, *places), rewards)
  scale = 'none' if no_std else 'group'
  episode = group_normalize(total, group_ids, scale=scale, epsilon=epsilon, ddof=ddof)
  episode = masking.sample_to_token(episode, sample_ids, segment_ids)
  result = episode_weight * episode + step_weight * from_start(step, start)
  return jnp.where(action, result, 0)


@declare(couples='group', traits=('scale_invariant',))
def step_reinforce(
  rewards: Array,
  token_rewards: Array,
  group_ids: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  turn_ids: Array,
  *,
  step_gamma: float = 0.95,
  scope: str = 'group',
  no_std: bool = False,
  epsilon: float = 1e-6,
  ddof: int = 1,
) -> Array:
  """A_t = (G_k − μ)/(σ + ε) over the turns of the scope,  G_k = r_k + γ·G_{k+1}, t in turn k.

  Each turn counts once, however many tokens it has. A group whose turns all have equal returns,
  or that has one turn, gets 0.

  Args:
    rewards: float [N]; not finite = unscorable: leaves all statistics and gets 0.
    token_rewards: float [..., T], besides `rewards`; wherever in the turn.
    group_ids: int32 [N]; −1 = unused, gets 0.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    turn_ids: int32 [..., T], the number of the turn in its sample; read at action tokens only.
    step_gamma: discount per turn.
    scope: 'group' (turns of the prompt's group) or 'batch' (all turns).
    no_std: the mean only is taken off.
    epsilon: added to σ, in units of the reward.
    ddof: of σ.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Raises:
    ValueError: an unknown scope.

  Examples:
    >>> rewards, groups, mask = jnp.array([1.0, 0.0]), jnp.zeros(2, int), jnp.ones((2, 2), bool)
    >>> segments, places = jnp.zeros((2, 2), int), jnp.array([[0], [1]])
    >>> turns = jnp.array([[0, 1], [0, 1]])
    >>> where = groups, mask, segments, places, turns
    >>> print(advantages.step_reinforce(rewards, jnp.zeros((2, 2)), *where))
    [[ 0.8211  0.9098]
     [-0.8655 -0.8655]]

  Source: public implementations: step-wise REINFORCE of ROLL.
  Differs from the source: the scope of the normalisation has a default.
  Fidelity: faithful
  """
  if scope not in ('group', 'batch'):
    raise ValueError(f'step_reinforce: scope {scope!r} is not one of group, batch')
  rewards = _scored(rewards, group_ids)
  reward, action = action_rewards(rewards, token_rewards, action_mask, segment_ids, sample_ids)
  returns, start = span_returns(reward, action, segment_ids, turn_ids, step_gamma)
  group = masking.sample_to_token(group_ids, sample_ids, segment_ids)
  key = group if scope == 'group' else jnp.zeros_like(group)
  result = normalize_equal(returns, (key,), start, no_std=no_std, epsilon=epsilon, ddof=ddof)
  return jnp.where(action, from_start(result, start), 0)


@declare(couples='group', traits=('shift_invariant', 'group_relative'))
def turn_leave_one_out(
  rewards: Array,
  token_rewards: Array,
  group_ids: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  turn_ids: Array,
  *,
  gamma: float = 1.0,
) -> Array:
  """A_t = G_{i,k} − mean_{j≠i} G_{j,k} for t in turn k,  G_k = r_k + γ·G_{k+1}.

  The mean is over the other samples of the group that have a turn k; where there is none, 0. Equal
  returns give exactly 0. With one turn it is RLOO.

  Args:
    rewards: float [N]; not finite = unscorable: leaves all statistics and gets 0.
    token_rewards: float [..., T], besides `rewards`; wherever in the turn.
    group_ids: int32 [N]; −1 = unused, gets 0.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    turn_ids: int32 [..., T], the number of the turn in its sample, rising; read at action tokens
      only.
    gamma: discount per turn.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> rewards, groups, mask = jnp.array([1.0, 0.0]), jnp.zeros(2, int), jnp.ones((2, 2), bool)
    >>> segments, places = jnp.zeros((2, 2), int), jnp.array([[0], [1]])
    >>> turns = jnp.array([[0, 1], [0, 1]])
    >>> where = jnp.zeros((2, 2)), groups, mask, segments, places, turns
    >>> print(advantages.turn_leave_one_out(rewards, *where, gamma=0.5))
    [[ 0.5  1. ]
     [-0.5 -1. ]]

  Source: Liu et al. 2026, arXiv 2602.05885 (Dr. Kernel, turn-level REINFORCE leave-one-out).
  Differs from the source: formula not confirmed against the paper; the discount is a guess.
  Fidelity: recalled
  """
  rewards = _scored(rewards, group_ids)
  reward, action = action_rewards(rewards, token_rewards, action_mask, segment_ids, sample_ids)
  returns, start = span_returns(reward, action, segment_ids, turn_ids, gamma)
  keys = (masking.sample_to_token(group_ids, sample_ids, segment_ids), turn_ids)
  found = key_statistics(returns, keys, start)
  others = found.count / jnp.maximum(found.count - 1, 1)
  result = jnp.where(start & ~found.equal, (returns - found.mean) * others, 0)
  return jnp.where(action, from_start(result, start), 0)


def _scored(rewards: Array, group_ids: Array) -> Array:
  return jnp.where(group_ids >= 0, masking.widen(rewards), jnp.nan)
