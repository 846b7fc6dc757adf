"""ROVER: the values of the policy that draws at random, learnt by the policy itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.ratios import constant, difference
from rljax.traits import declare

Array = jax.Array


@declare(couples='sequence')
def rover(
  logprobs: Array,
  old_logprobs: Array,
  self_certainty: Array,
  old_self_certainty: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  *,
  rho: float = 1.0,
) -> tuple[Array, dict[str, Array]]:
  """(Q_t − r̃ − sg(V_{t+1}))²,  Q_t = ρ·(ℓ − ℓ°) of the token,  V = its mean over the vocabulary.

  The Bellman equation of the policy that draws uniformly, whose values rank actions as the optimal
  ones do where rewards come at the end of a tree. The policy's log-ratio to itself before the
  update is its value, so there is no value network, no clip and no divergence. The last token of a
  completion (and one that something unsampled follows) has the target r̃ alone.

  At the old policy the gradient is −2ρ·r̃·∇ℓ, that of REINFORCE; the steps after it differ. The mean
  of log π over the vocabulary is −log|V| − KL(uniform ‖ π), and log|V| cancels in V.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ° of the policy before the update. Constant.
    self_certainty: float [..., T], nats, KL(uniform ‖ π) at the state of the token. Constant.
    old_self_certainty: float [..., T], nats, the same before the update. Constant.
    advantages: float [..., T], r̃: the reward less the mean of its group, on each token. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    rho: ρ, of the reward per nat.

  Returns:
    (loss [..., T], diagnostics: `next_value` V, `error` what is squared).

  Examples:
    >>> zeros, advantages = jnp.zeros((1, 3)), jnp.ones((1, 3))
    >>> args = zeros, zeros, zeros, advantages, jnp.ones((1, 3), bool), jnp.zeros((1, 3), int)
    >>> loss = lambda logprobs: losses.rover(logprobs, *args)[0].sum()
    >>> print(jax.grad(loss)(zeros))  # at the old policy: −2ρ·r̃
    [[-2. -2. -2.]]

  Source: ROVER, Random Policy Valuation is Enough for LLM Reasoning (2025).
  Differs from the source: formula not confirmed against the paper.
  Fidelity: recalled
  """
  value = -rho * (constant(self_certainty) - constant(old_self_certainty))
  goes_on = (segment_ids[..., 1:] == segment_ids[..., :-1]) & action_mask[..., 1:]
  following = jnp.where(goes_on, value[..., 1:], 0)
  following = jnp.concatenate([following, jnp.zeros_like(value[..., :1])], axis=-1)
  error = rho * difference(logprobs, old_logprobs) - constant(advantages) - following
  return jnp.square(error), {'next_value': following, 'error': constant(error)}
