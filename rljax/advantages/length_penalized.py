"""GRPO with a penalty on length that grows with the group's success."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored
from rljax.traits import declare

Array = jax.Array


@declare(denominator='samples', couples='group', traits=('zero_mean_in_group',))
def length_penalized(
  rewards: Array,
  group_ids: Array,
  completion_length: Array,
  num_tokens: Array,
  num_turns: Array | None = None,
  *,
  output_weight: float = 0.25,
  input_weight: float = 0.1,
  turns_weight: float = 0.1,
) -> Array:
  """R' = R − μ_g·(w_o·out/max out + w_i·in/max in + w_t·turns/max turns),  A = R' − μ'_g.

  Maxima (at least 1) and means are of the group. Prompts that are mostly solved are shortened, and
  hopeless ones are left alone. A group of equal rewards still learns to be short.

  Args:
    rewards: float [N]; not finite = unscorable, gets 0. Constant.
    group_ids: int32 [N]; −1 = unused, gets 0.
    completion_length: float [N], out: number of action tokens. Constant.
    num_tokens: int32 [N], of the whole sample; in = num_tokens − out: prompt and observations.
    num_turns: int32 [N]; without it there is no term of turns.
    output_weight: w_o, fraction of the mean reward.
    input_weight: w_i.
    turns_weight: w_t.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([0, 0, 1, 1])
    >>> length, whole = jnp.array([4.0, 4.0, 2.0, 8.0]), jnp.array([6, 6, 4, 10])
    >>> # All right: shorter is better
    >>> print(advantages.length_penalized(rewards, groups, length, whole))
    [ 0.5    -0.5     0.0938 -0.0938]

  Source: public implementations: prime-rl's GRPO with a length penalty.
  Differs from the source: nothing
  Fidelity: faithful
  """
  rewards, counted = scored(rewards, group_ids)

  def share(x):
    x = masking.zero_where_not(jax.lax.stop_gradient(x), counted).astype(rewards.dtype)
    return x / jnp.maximum(masking.group_max(x, group_ids, counted), 1)

  penalty = output_weight * share(completion_length)
  penalty = penalty + input_weight * share(num_tokens - completion_length)
  if num_turns is not None:
    penalty = penalty + turns_weight * share(num_turns)
  shaped = rewards - masking.group_mean(rewards, group_ids, counted) * penalty
  result = shaped - masking.group_mean(shaped, group_ids, counted)
  return jnp.where(counted, result, 0)
