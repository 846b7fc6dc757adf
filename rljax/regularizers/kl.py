"""KL to a reference policy. d_t = ℓ_t − ℓ^ref_t, ρ_t = exp(ℓ_t − ℓ°_t), sg = stop_gradient.

Two objectives are called "the KL". Token-local: Σ_t E KL(π(·|s_t) ‖ ref(·|s_t)) with the states as
they were sampled: `reverse_kl`, `full_reverse_kl`. Of whole sequences: KL(π ‖ ref) = E Σ_t d_t,
which also charges early tokens for the KL that they lead to: `kl_reward`, the only one whose
optimum is π* ∝ ref·exp(R/β).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.masking import widen
from rljax.regularizers.estimators import LOG_RATIO_LIMIT, k3
from rljax.regularizers.estimators import k1 as estimate_k1
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare()
def reverse_kl(
  logprobs: Array,
  ref_logprobs: Array,
  old_logprobs: Array,
  *,
  max_ratio: float = 10.0,
  max_value: float = 10.0,
) -> tuple[Array, dict[str, Array]]:
  """Token-local KL(π ‖ ref): value sg(k3_t), gradient sg(min(ρ_t, max_ratio)·d_t)·∇ℓ_t.

  The expected gradient is that of the token-local reverse KL over the sampled states, on-policy
  and with samples of an older policy. Per sample it is the gradient of ρ·k3 and of sg(ρ)·k2;
  on-policy (old_logprobs = sg(logprobs)) it is k2 in the loss. It also acts on tokens that the
  surrogate clips.

  Args:
    logprobs: float [..., T], nats, ℓ, whole vocabulary; differentiated.
    ref_logprobs: float [..., T], nats. Constant.
    old_logprobs: float [..., T], nats, ℓ° of the policy that drew the tokens. Constant.
    max_ratio: bound of ρ in the gradient.
    max_value: bound of k3 in the value only, nats.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, the value before the bound, nats).

  Source: the gradient identity is checked by enumeration in tests/test_regularizers.py.
  Differs from the source: public implementations put k3 itself in the loss (`forward_k3`).
  """
  logprobs = widen(logprobs)
  ref_logprobs, old_logprobs = sg((widen(ref_logprobs), widen(old_logprobs)))
  d = sg(logprobs) - ref_logprobs
  ratio = jnp.exp(jnp.clip(sg(logprobs) - old_logprobs, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
  value = k3(d)
  slope = jnp.minimum(ratio, max_ratio) * d
  loss = slope * (logprobs - sg(logprobs)) + jnp.minimum(value, max_value)
  return loss, {'kl_ref': value}


@declare()
def full_reverse_kl(full_kl: Array) -> tuple[Array, dict[str, Array]]:
  """Token-local KL(π ‖ ref), summed over the vocabulary: no noise of the action.

  Args:
    full_kl: float [..., T], nats: the statistic of that name; differentiated.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, nats).

  Source: the definition.
  Differs from the source: nothing.
  """
  return widen(full_kl), {'kl_ref': sg(widen(full_kl))}


@declare()
def forward_k3(logprobs: Array, ref_logprobs: Array) -> tuple[Array, dict[str, Array]]:
  """k3 in the loss: its on-policy gradient is that of the *forward* KL(ref ‖ π).

  Right for no KL when samples are not of the present policy.

  Args:
    logprobs: float [..., T], nats; differentiated.
    ref_logprobs: float [..., T], nats. Constant.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, nats).

  Source: Shao et al. 2024, arXiv 2402.03300, equation 4.
  Differs from the source: d is clamped to ±20 (no gradient beyond).
  """
  value = k3(widen(logprobs) - sg(widen(ref_logprobs)))
  return value, {'kl_ref': sg(value)}


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

  Source: a default of several public systems.
  Differs from the source: nothing.
  """
  d = widen(logprobs) - sg(widen(ref_logprobs))
  return estimate_k1(d), {'kl_ref': sg(k3(d))}


@declare()
def kl_reward(old_logprobs: Array, ref_logprobs: Array) -> tuple[Array, dict[str, Array]]:
  """sg(ℓ° − ℓ^ref) per token, to be subtracted from rewards: the KL of whole sequences.

  Right with returns to go (γ = 1) or with the sum over the sequence on every token. With a scale of
  the advantages the coefficient is divided by that scale.

  Args:
    old_logprobs: float [..., T], nats, of the policy that drew the tokens. Constant.
    ref_logprobs: float [..., T], nats. Constant.

  Returns:
    (penalty [..., T], nats, no diagnostics).

  Source: Ziegler et al. 2019, arXiv 1909.08593, equation 2.
  Differs from the source: nothing.
  """
  return sg(estimate_k1(widen(old_logprobs) - widen(ref_logprobs))), {}
