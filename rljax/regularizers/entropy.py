"""Entropy of the policy, as a loss to be scaled by a positive coefficient."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.masking import widen
from rljax.regularizers.estimators import LOG_RATIO_LIMIT
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare()
def entropy_bonus(entropy: Array) -> tuple[Array, dict[str, Array]]:
  """−H_t of the whole vocabulary.

  Args:
    entropy: float [..., T], nats: the statistic of that name; differentiated.

  Returns:
    (loss [..., T], no diagnostics).

  Source: Williams and Peng 1991, "Function optimization using connectionist … algorithms".
  Differs from the source: nothing.
  """
  return -widen(entropy), {}


@declare()
def sampled_entropy_bonus(
  logprobs: Array, old_logprobs: Array, *, max_ratio: float = 10.0
) -> tuple[Array, dict[str, Array]]:
  """−H_t from the sampled token: value sg(ρ·ℓ), gradient sg(ρ·(ℓ + 1))·∇ℓ, ρ = exp(ℓ − ℓ°).

  The score-function form; ℓ itself as a loss has the expected gradient zero.

  Args:
    logprobs: float [..., T], nats; differentiated.
    old_logprobs: float [..., T], nats, of the policy that drew the tokens. Constant.
    max_ratio: bound of ρ.

  Returns:
    (loss [..., T], no diagnostics).

  Source: ∇H = −E[(ℓ + 1)·∇ℓ]; checked by enumeration in tests/test_regularizers.py.
  Differs from the source: nothing.
  """
  logprobs = widen(logprobs)
  log_ratio = sg(logprobs) - sg(widen(old_logprobs))
  ratio = jnp.exp(jnp.clip(log_ratio, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
  ratio = jnp.minimum(ratio, max_ratio)
  fixed = sg(logprobs)
  return ratio * (fixed + 1) * (logprobs - fixed) + ratio * fixed, {}
