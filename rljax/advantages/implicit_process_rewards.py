"""PRIME: rewards of tokens from a reward model that is a language model."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.action_rewards import returns_to_go
from rljax.advantages.leave_one_out import leave_one_out
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(couples='group', traits=('shift_invariant',))
def implicit_process_rewards(
  rewards: Array,
  prm_logprobs: Array,
  ref_logprobs: Array,
  group_ids: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  *,
  beta: float = 0.05,
  gamma: float = 1.0,
) -> Array:
  """A_t = Σ_{k≥t} γ^{k−t}·(r_k − mean_{j≠i} r̄_j) + R_i − mean_{j≠i} R_j,  r = β·(ℓ^φ − ℓ^ref).

  r̄_j is the mean of r over the action tokens of completion j of the group. The reward model φ is
  trained on outcomes alone, by cross-entropy on σ(Σ r); its log-ratio then is a reward for each
  token. A group of one sample gets 0; a group of equal outcomes keeps its process part.

  Args:
    rewards: float [N], outcomes; not finite = unscorable: leaves all statistics and gets 0.
    prm_logprobs: float [..., T], nats, ℓ^φ.
    ref_logprobs: float [..., T], nats, ℓ^ref of what φ began as.
    group_ids: int32 [N]; −1 = unused, gets 0.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S].
    sample_slots: int32 [N].
    beta: of the reward model; that of its loss.
    gamma: discount per action token, of the process part.

  Returns:
    at least float32 [..., T]; 0 off action tokens. Constant.

  Examples:
    >>> rewards, groups, mask = jnp.array([1.0, 0.0]), jnp.zeros(2, int), jnp.ones((2, 1), bool)
    >>> where = groups, mask, jnp.zeros((2, 1), int), jnp.array([[0], [1]]), jnp.array([0, 1])
    >>> prm, ref = jnp.array([[-1.0], [-3.0]]), jnp.full((2, 1), -2.0)
    >>> print(advantages.implicit_process_rewards(rewards, prm, ref, *where, beta=0.1).ravel())
    [ 1.2 -1.2]

  Source: Cui et al. 2025, arXiv 2502.01456, the advantage with RLOO.
  Differs from the source: nothing; the default of γ is a choice.
  Fidelity: faithful
  """
  outcome = leave_one_out(rewards, group_ids)
  _, counted = scored(rewards, group_ids)
  arrays = (prm_logprobs, ref_logprobs)
  prm, ref = jax.lax.stop_gradient([masking.widen(x) for x in arrays])

  def on_tokens(x):
    return masking.sample_to_token(x, sample_ids, segment_ids)

  action = action_mask & on_tokens(counted)
  process = beta * masking.zero_where_not(prm - ref, action)

  places = (segment_ids, sample_slots, sample_ids.shape[-1])
  length = masking.token_to_sample_sum(action, action, *places)
  mean = masking.token_to_sample_sum(process, action, *places) / jnp.maximum(length, 1)
  measured = counted & (length > 0)
  others = masking.group_count(group_ids, measured) - 1
  baseline = (masking.group_sum(mean, group_ids, measured) - mean) / jnp.maximum(others, 1)
  compared = measured & (others > 0)
  process = jnp.where(action & on_tokens(compared), process - on_tokens(baseline), 0)
  returns = returns_to_go(process, action, segment_ids, gamma)
  return jnp.where(action, returns + on_tokens(outcome), 0)
