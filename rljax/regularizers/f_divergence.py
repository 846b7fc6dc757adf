"""Token-local f-divergences from a reference policy, from the sampled token."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp
from rljax.masking import widen
from rljax.regularizers.estimators import k3, ratio_of
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare()
def f_divergence(
  logprobs: Array,
  ref_logprobs: Array,
  old_logprobs: Array,
  *,
  kind: str = 'jensen_shannon',
  alpha: float = 0.5,
  max_ratio: float = 10.0,
  max_value: float = 10.0,
) -> tuple[Array, dict[str, Array]]:
  """D_f(π ‖ ref) = Σ_v ref_v·f(u_v), u = π/ref = e^d: gradient sg(min(ρ, max_ratio)·f'(u))·∇ℓ.

  In expectation value and gradient are those of Σ_t E D_f(π(·|s_t) ‖ ref(·|s_t)) over the states
  that were sampled, on-policy and with samples of an older policy. Written with that f of the
  divergence for which f(1) = f'(1) = 0 (any multiple of u − 1 may be added to f), so that a token
  on which the policies agree has value and gradient 0, and every value sg(ρ·f(u)/u) is ≥ 0.

  kind, f and f':
  - 'reverse_kl' KL(π ‖ ref): u·log u − u + 1, d. Gradient and on-policy value of `reverse_kl`.
  - 'forward_kl' KL(ref ‖ π): u − 1 − log u, 1 − e^{−d}. On-policy the gradient of `forward_k3`.
  - 'jensen_shannon' ½KL(π ‖ m) + ½KL(ref ‖ m), m = (π + ref)/2: f' = ½·log(2u/(1 + u)) < ½·log 2.
  - 'alpha': (u^α − αu − 1 + α)/(α(α − 1)), (e^{(α−1)d} − 1)/(α − 1). α → 1 is the reverse and α → 0
    the forward KL, α = ½ four times the squared Hellinger distance, α = 2 half of χ².
  - 'chi_squared' Σ(π − ref)²/ref: (u − 1)², 2(u − 1).
  - 'total_variation' ½Σ|π − ref|: ½|u − 1|, ½·sign(d).

  Args:
    logprobs: float [..., T], nats, ℓ, whole vocabulary; differentiated.
    ref_logprobs: float [..., T], nats. Constant.
    old_logprobs: float [..., T], nats, ℓ° of the policy that drew the tokens. Constant.
    kind: the divergence.
    alpha: of kind 'alpha'.
    max_ratio: bound of ρ = exp(ℓ − ℓ°).
    max_value: bound of the value only, nats.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, the k3 value, nats).

  Raises:
    ValueError: an unknown kind.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> for kind in ('reverse_kl', 'forward_kl', 'total_variation'):
    ...   loss = lambda logprobs: regularizers.f_divergence(logprobs, old, new, kind=kind)[0].sum()
    ...   print(kind, jax.grad(loss)(new))  # f′(π/ref): ratios 1.8, 1, 0.2
    reverse_kl [[ 0.5878  0.     -1.6094]]
    forward_kl [[ 0.4444  0.     -4.    ]]
    total_variation [[ 0.5  0.  -0.5]]

  Source: Go et al. 2023, arXiv 2302.08215, theorem 1 (the gradient); the value and the ratio are
    derived here and proved by enumeration in tests/test_enumeration.py.
  Differs from the source: per token and not per sequence, against a reference and not a tilted
    target, with a ratio to the old policy; d is clamped to ±20 in exponentials.
  Fidelity: adapted
  """
  if kind not in KINDS:
    raise ValueError(f'f_divergence: kind {kind!r} is not one of {", ".join(KINDS)}')
  logprobs = widen(logprobs)
  ref_logprobs, old_logprobs = sg((widen(ref_logprobs), widen(old_logprobs)))
  fixed = sg(logprobs)
  d = fixed - ref_logprobs
  ratio = jnp.minimum(ratio_of(fixed, old_logprobs), max_ratio)
  slope, value = KINDS[kind](d, clamp(d), alpha)
  loss = ratio * slope * (logprobs - fixed) + jnp.minimum(ratio * value, max_value)
  return loss, {'kl_ref': k3(d)}


# Each: (d, d clamped, alpha) -> (f'(u), f(u)/u).


def _reverse_kl(d, clamped, alpha):
  return d, k3(d)


def _forward_kl(d, clamped, alpha):
  slope = -jnp.expm1(-clamped)
  return slope, slope - clamped * jnp.exp(-clamped)


def _jensen_shannon(d, clamped, alpha):
  above = math.log(2) - jax.nn.softplus(-clamped)  # log(2u/(1 + u))
  below = math.log(2) - jax.nn.softplus(clamped)  # log(2/(1 + u))
  # Not below 0 by rounding where the policies nearly agree.
  return 0.5 * above, jnp.maximum(0.5 * (above + jnp.exp(-clamped) * below), 0)


def _alpha(d, clamped, alpha):
  slope = _expm1_over(alpha - 1, clamped)
  forward = _forward_kl(d, clamped, alpha)[1]  # the limit α → 0
  near = jnp.abs(alpha) < 1e-3  # where the quotient would be of rounding errors
  value = (slope + jnp.expm1(-clamped)) / jnp.where(near, 1, alpha)
  return slope, jnp.where(near, forward, jnp.maximum(value, 0))


def _expm1_over(a, d):
  """(e^{a·d} − 1)/a, and d at a = 0."""
  exponent = clamp(a * d)
  return jnp.where(a == 0, d, jnp.expm1(exponent) / jnp.where(a == 0, 1, a))


def _chi_squared(d, clamped, alpha):
  return 2 * jnp.expm1(clamped), 4 * jnp.square(jnp.sinh(clamped / 2))


def _total_variation(d, clamped, alpha):
  return 0.5 * jnp.sign(d), 0.5 * jnp.abs(jnp.expm1(-clamped))


KINDS = {
  'reverse_kl': _reverse_kl,
  'forward_kl': _forward_kl,
  'jensen_shannon': _jensen_shannon,
  'alpha': _alpha,
  'chi_squared': _chi_squared,
  'total_variation': _total_variation,
}
