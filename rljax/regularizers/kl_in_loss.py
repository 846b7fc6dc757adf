"""Estimators of the KL put in the loss as they are: what their gradients do, sample by sample.

On-policy and with weights that do not depend on the sample, the expected gradients are: k1 none,
k2 the reverse KL, k3 the forward KL, |d| twice the total variation. With samples of another policy
none of them is right; `reverse_kl` and `f_divergence` are.
"""

from __future__ import annotations

import jax

from rljax.masking import widen
from rljax.regularizers.estimators import absolute, k1, k2, k3, with_gradient_of_k2
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient

VALUES = {'absolute': absolute, 'k1': k1, 'k2': k2, 'k3': k3}


@declare()
def k1_in_loss(logprobs: Array, ref_logprobs: Array) -> tuple[Array, dict[str, Array]]:
  """d in the loss. It does not hold the policy near the reference; here for comparisons.

  Its value is the KL, but its gradient ∇ℓ has mean zero on-policy: with weights that do not depend
  on the sample nothing happens, and with weights 1/length it lengthens completions (the expected
  gradient is ∇E[1/length]).

  Args:
    logprobs: float [..., T], nats; differentiated.
    ref_logprobs: float [..., T], nats. Constant.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, the k3 value, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> # Knows no reference
    >>> print(jax.grad(lambda l: regularizers.k1_in_loss(l, old)[0].sum())(new))
    [[1. 1. 1.]]

  Source: public implementations: a default of several.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  d = widen(logprobs) - sg(widen(ref_logprobs))
  return k1(d), {'kl_ref': sg(k3(d))}


@declare()
def k2_in_loss(
  logprobs: Array, ref_logprobs: Array, *, value: str = 'k2'
) -> tuple[Array, dict[str, Array]]:
  """d²/2 in the loss: its on-policy gradient d·∇ℓ is that of the token-local KL(π ‖ ref).

  With samples of an older policy it is wrong; `reverse_kl` is the same with the ratio. With `value`
  'k1' or 'k3' it is the straight-through estimator 'k1+' or 'k3+'.

  Args:
    logprobs: float [..., T], nats; differentiated.
    ref_logprobs: float [..., T], nats. Constant.
    value: 'k1', 'k2', 'k3' or 'absolute': the estimator whose value is shown; the gradient is
      always that of k2.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, the k3 value, nats).

  Raises:
    ValueError: an unknown value.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> print(jax.grad(lambda l: regularizers.k2_in_loss(l, old)[0].sum())(new))  # d
    [[ 0.5878  0.     -1.6094]]

  Source: Schulman, 2020, note on KL; public implementations of the straight-through forms.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  if value not in VALUES:
    raise ValueError(f'k2_in_loss: value {value!r} is not one of {", ".join(VALUES)}')
  d = widen(logprobs) - sg(widen(ref_logprobs))
  return with_gradient_of_k2(VALUES[value], d), {'kl_ref': sg(k3(d))}


@declare()
def forward_k3(logprobs: Array, ref_logprobs: Array) -> tuple[Array, dict[str, Array]]:
  """e^{−d} − 1 + d in the loss: its on-policy gradient is that of the *forward* KL(ref ‖ π).

  Right for no KL when samples are not of the present policy (`f_divergence` with kind 'forward_kl'
  is).

  Args:
    logprobs: float [..., T], nats; differentiated.
    ref_logprobs: float [..., T], nats. Constant.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> print(jax.grad(lambda l: regularizers.forward_k3(l, old)[0].sum())(new))  # 1 − ref/π
    [[ 0.4444  0.     -4.    ]]

  Source: Shao et al. 2024, arXiv 2402.03300, equation 4.
  Differs from the source: d is clamped to ±20 (no gradient beyond).
  Fidelity: faithful
  """
  value = k3(widen(logprobs) - sg(widen(ref_logprobs)))
  return value, {'kl_ref': sg(value)}


@declare()
def absolute_in_loss(logprobs: Array, ref_logprobs: Array) -> tuple[Array, dict[str, Array]]:
  """|d| in the loss: its on-policy gradient sign(d)·∇ℓ is that of Σ_v |π_v − ref_v|, not of a KL.

  A force of constant size, however near the reference is.

  Args:
    logprobs: float [..., T], nats; differentiated.
    ref_logprobs: float [..., T], nats. Constant.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, the k3 value, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> print(jax.grad(lambda l: regularizers.absolute_in_loss(l, old)[0].sum())(new))  # sign(d)
    [[ 1.  0. -1.]]

  Source: public implementations: the 'abs' penalty; the identity is proved by enumeration.
  Differs from the source: no gradient at d = 0.
  Fidelity: faithful
  """
  d = widen(logprobs) - sg(widen(ref_logprobs))
  return absolute(d), {'kl_ref': sg(k3(d))}
