"""Right answers that the policy itself finds unlikely count more."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.advantages.scored import scored

Array = jax.Array


def unlikeliness(
  rewards: Array,
  group_ids: Array,
  sequence_policy_logprobs: Array,
  *,
  beta: float = 0.25,
) -> Array:
  """R'_i = R_i·(1 − β·(G − rank_i) / G) where R_i > 0; rank 0 is the likeliest of the group.

  So what is already likely is reinforced less, and the distribution sharpens less.

  Args:
    rewards: float [N]; not finite = unscorable, stays as it is. Constant.
    group_ids: int32 [N]; −1 = unused, stays as it is.
    sequence_policy_logprobs: float [N], nats, Σ over action tokens. Constant.
    beta: what the likeliest right answer loses, fraction.

  Returns:
    at least float32 [N].

  Examples:
    >>> rewards, logprobs = jnp.array([1.0, 1.0, 0.0]), jnp.array([-1.0, -9.0, -5.0])
    >>> # What is likely gains less
    >>> print(shaping.unlikeliness(rewards, jnp.zeros(3, int), logprobs))
    [0.75   0.9167 0.    ]

  Source: He et al. 2025, arXiv 2506.02355.
  Differs from the source: formula not confirmed against the paper; of two equal log-probs the one
    earlier in the array is the likelier.
  Fidelity: recalled
  """
  old = jax.lax.stop_gradient(masking.widen(rewards))
  rewards, counted = scored(rewards, group_ids)
  likelihood = masking.zero_where_not(jax.lax.stop_gradient(sequence_policy_logprobs), counted)
  size = jnp.maximum(masking.group_count(group_ids, counted), 1).astype(rewards.dtype)
  rank = masking.group_rank(likelihood, group_ids, counted)
  factor = 1 - beta * (size - rank) / size
  return jnp.where(counted & (rewards > 0), rewards * factor, old)
