"""The importance-weighted policy gradient without a clip."""

from __future__ import annotations

import jax

from rljax.log_ratios import clamped_exp
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare(traits=('on_policy_is_reinforce',))
def importance_sampling(
  logprobs: Array, policy_logprobs: Array, advantages: Array
) -> tuple[Array, dict[str, Array]]:
  """−A·exp(ℓ − ℓ^μ).

  The ratio to the policy that sampled, per token, with nothing clipped; used with token_sum
  weights. Exact in expectation for completions of one token; in longer ones the tokens before and
  after this one are weighted as they were sampled.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    policy_logprobs: float [..., T], nats, ℓ^μ, of the sampler. Constant.
    advantages: float [..., T]. Constant.

  Returns:
    (loss [..., T], diagnostics: `ratio_max` the ratio).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> print(losses.importance_sampling(new, old, jnp.ones((1, 3)))[0])  # nothing is clipped
    [[-1.8 -1.  -0.2]]

  Source: public implementations: the loss of that name of Tinker and of SkyRL.
  Differs from the source: log-ratios are clamped to ±20.
  Fidelity: faithful
  """
  ratio = clamped_exp(widen(logprobs) - jax.lax.stop_gradient(widen(policy_logprobs)))
  advantages = jax.lax.stop_gradient(widen(advantages))
  return -advantages * ratio, {'ratio_max': jax.lax.stop_gradient(ratio)}
