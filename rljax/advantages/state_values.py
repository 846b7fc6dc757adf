"""Credit by values of the states at step boundaries: VinePPO and SPO."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.action_rewards import action_rewards, next_in_segment
from rljax.advantages.spans import from_start, span_starts
from rljax.traits import declare

Array = jax.Array


@declare(couples='sequence')
def state_value_differences(
  rewards: Array,
  token_rewards: Array,
  state_values: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  step_ids: Array,
  *,
  gamma: float = 1.0,
) -> Array:
  """A_t = r_k + γ·V(s_{k+1}) − V(s_k) for all action tokens t of step k; V = 0 after the last step.

  V(s_k) is the mean return of some completions (9 in VinePPO) that are sampled from the prefix at
  which step k begins. Special cases: VinePPO (steps of the reasoning) · SPO-segment (steps from
  `low_probability_cuts`).

  Args:
    rewards: float [N], of the last step; not finite = unscorable, gets 0.
    token_rewards: float [..., T], besides `rewards`.
    state_values: float [..., T], read at the first action token of each step: the value of the
      state in which that token is chosen. Not finite there = the step is joined to the one before
      it; not finite at the first step = its sample gets 0.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    step_ids: int32 [..., T], the number of the step in its sample; read at action tokens only.
    gamma: discount per step.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> values, steps = jnp.array([[0.2, 0.2, 0.7]]), jnp.array([[0, 0, 1]])
    >>> where = values, *row, steps
    >>> print(advantages.state_value_differences(jnp.array([1.0]), jnp.zeros((1, 3)), *where))
    [[0.5 0.5 0.3]]

  Source: Kazemnejad et al. 2024, arXiv 2410.01679 (VinePPO); Guo et al. 2025, arXiv 2505.23564
    (SPO).
  Differs from the source: formula not confirmed against the paper; missing values join steps.
  Fidelity: recalled
  """
  reward, action = action_rewards(rewards, token_rewards, action_mask, segment_ids, sample_ids)
  values = jax.lax.stop_gradient(masking.widen(state_values))
  known = jnp.isfinite(values)
  first = span_starts(jnp.zeros_like(step_ids), action, segment_ids)
  start = first | (span_starts(step_ids, action, segment_ids) & known)
  without = masking.segment_sum(first & ~known, segment_ids, sample_ids.shape[-1])
  valued = action & (masking.segment_to_token(without, segment_ids) == 0)

  values = masking.zero_where_not(values, start & known)
  before_next = next_in_segment(start, segment_ids)
  gained = reward + jnp.where(before_next, gamma * next_in_segment(values, segment_ids), 0)
  total = masking.reverse_segment_scan(jnp.where(before_next, 0.0, 1.0), gained, segment_ids)
  return jnp.where(valued, from_start(total - values, start), 0)


@declare(couples='sequence')
def low_probability_cuts(
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  *,
  max_probability: float = 0.9,
  cuts_per_step: int = 5,
) -> Array:
  """step(t) = ⌊#{action tokens before t with π < max_probability} / cuts_per_step⌋.

  Not an advantage: the `step_ids` of SPO. At a token of low probability the completion might have
  gone another way, so steps hold equal numbers of those and not of tokens; a step ends after its
  last one. Values are then sampled from where steps begin (`state_value_differences`).

  Args:
    policy_logprobs: float [..., T], nats, of the sampling policy. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    max_probability: below it a token is a place to cut, fraction.
    cuts_per_step: tokens of low probability in a step.

  Returns:
    int32 [..., T], from 0 in each sample; −1 off action tokens.

  Raises:
    ValueError: cuts_per_step is not positive.

  Examples:
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> logprobs = jnp.log(jnp.array([[0.5, 0.99, 0.5]]))
    >>> print(advantages.low_probability_cuts(logprobs, *row[:2], cuts_per_step=1))
    [[0 1 1]]

  Source: Guo et al. 2025, arXiv 2505.23564 (SPO-chain).
  Differs from the source: formula not confirmed against the paper, nor are the defaults.
  Fidelity: recalled
  """
  if cuts_per_step < 1:
    raise ValueError(f'low_probability_cuts: cuts_per_step is {cuts_per_step}; it is at least 1')
  action = action_mask & (segment_ids >= 0)
  chosen = jnp.where(action, jax.lax.stop_gradient(masking.widen(policy_logprobs)), 0)
  low = action & (chosen < jnp.log(max_probability))
  ahead = masking.reverse_segment_scan(jnp.ones(low.shape), low, segment_ids)
  total = from_start(ahead, masking.starts(segment_ids))
  before = (total - ahead).astype(jnp.int32)
  return jnp.where(action, before // cuts_per_step, -1)
