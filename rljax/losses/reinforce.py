"""REINFORCE: the policy gradient without a ratio."""

from __future__ import annotations

import jax

from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare(traits=('on_policy_is_reinforce',))
def reinforce(logprobs: Array, advantages: Array) -> tuple[Array, dict[str, Array]]:
  """−A·ℓ; right in expectation where the policy that is updated drew the tokens.

  Args:
    logprobs: float [..., T], nats; differentiated.
    advantages: float [..., T]. Constant.

  Returns:
    (loss [..., T], no diagnostics).

  Examples:
    >>> logprobs = jnp.log(jnp.array([[0.5, 0.25]]))
    >>> print(losses.reinforce(logprobs, jnp.array([[1.0, -1.0]]))[0])
    [[ 0.6931 -1.3863]]

  Source: Williams 1992, "Simple statistical gradient-following algorithms …", equation 11.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return -jax.lax.stop_gradient(widen(advantages)) * widen(logprobs), {}
