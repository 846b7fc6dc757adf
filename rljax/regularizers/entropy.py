"""Entropy of the policy, as a loss to be scaled by a positive coefficient and as a metric."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.masking import widen
from rljax.regularizers.estimators import ratio_of
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare()
def entropy_bonus(entropy: Array) -> tuple[Array, dict[str, Array]]:
  """−H_t = Σ_v π(v|s_t)·log π(v|s_t), of the whole vocabulary.

  Args:
    entropy: float [..., T], nats: the statistic of that name; differentiated.

  Returns:
    (loss [..., T], no diagnostics).

  Examples:
    >>> print(regularizers.entropy_bonus(jnp.array([[0.0, 0.7]]))[0])
    [[-0.  -0.7]]

  Source: Williams and Peng 1991, "Function optimization using connectionist … algorithms".
  Differs from the source: nothing.
  Fidelity: faithful
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

  Examples:
    >>> logprobs = jnp.log(jnp.array([[0.9, 0.1]]))
    >>> loss = lambda l: regularizers.sampled_entropy_bonus(l, logprobs)[0].sum()
    >>> print(jax.grad(loss)(logprobs))  # the likely one falls, the unlikely one rises
    [[ 0.8946 -1.3026]]

  Source: ∇H = −E[(ℓ + 1)·∇ℓ]; proved by enumeration in tests/test_enumeration.py.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  logprobs = widen(logprobs)
  fixed = sg(logprobs)
  ratio = jnp.minimum(ratio_of(fixed, sg(widen(old_logprobs))), max_ratio)
  return ratio * (fixed + 1) * (logprobs - fixed) + ratio * fixed, {}


def importance_entropy(logprobs: Array, old_logprobs: Array) -> Array:
  """−ρ·ℓ, ρ = exp(ℓ − ℓ°): an unbiased estimate of H_t from the sampled token.

  A metric where no pass over the vocabulary is made. It is differentiable, ρ included, and its
  gradient −ρ·(ℓ + 1)·∇ℓ is that of H_t in expectation: `sampled_entropy_bonus` is its negative with
  a bound on ρ. Exactly on-policy it is −ℓ in value, but not in gradient.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, of the policy that drew the tokens. Constant.

  Returns:
    [..., T], nats, at least float32.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> print(regularizers.importance_entropy(old, old))  # on-policy: −ℓ
    [[0.6931 0.6931 0.6931]]

  Source: public implementations: the approximate entropy of sampled tokens.
  Differs from the source: the log-ratio is clamped to ±20.
  Fidelity: faithful
  """
  logprobs = widen(logprobs)
  return -ratio_of(logprobs, sg(widen(old_logprobs))) * logprobs
