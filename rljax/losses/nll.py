"""Negative log-likelihood: supervised fine-tuning."""

from __future__ import annotations

import jax

from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare()
def nll(logprobs: Array) -> tuple[Array, dict[str, Array]]:
  """−ℓ on each token.

  Args:
    logprobs: float [..., T], nats; differentiated.

  Returns:
    (loss [..., T], no diagnostics).

  Examples:
    >>> print(losses.nll(jnp.log(jnp.array([[0.5, 0.25]])))[0])
    [[0.6931 1.3863]]

  Source: maximum likelihood.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return -widen(logprobs), {}
