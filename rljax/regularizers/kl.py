"""KL to a reference policy with the right gradient.

d_t = ℓ_t − ℓ^ref_t, ρ_t = exp(ℓ_t − ℓ°_t), sg = stop_gradient.

Two objectives are called "the KL". Token-local: Σ_t E KL(π(·|s_t) ‖ ref(·|s_t)) with the states as
they were sampled: `reverse_kl`, `full_reverse_kl`. Of whole sequences: KL(π ‖ ref) = E Σ_t d_t,
which also charges early tokens for the KL that they lead to: `kl_reward` and `sequence_kl`, the
only ones whose optimum is π* ∝ ref·exp(R/β).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.masking import widen
from rljax.regularizers.estimators import k1, k3, ratio_of
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare()
def reverse_kl(
  logprobs: Array,
  ref_logprobs: Array,
  old_logprobs: Array,
  policy_logprobs: Array | None = None,
  *,
  max_ratio: float = 10.0,
  max_value: float = 10.0,
  mismatch_correction: bool = False,
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
    policy_logprobs: float [..., T], nats, ℓ^μ of the sampler. Constant; of no influence without
      `mismatch_correction`.
    max_ratio: bound of ρ in the gradient.
    max_value: bound of k3 in the value only, nats.
    mismatch_correction: the weight is min(ρ·w, max_ratio) with w = exp(ℓ° − ℓ^μ): right where the
      sampler and the trainer disagree about the policy that drew the tokens.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, the value before the bound, nats).

  Raises:
    ValueError: mismatch_correction without policy_logprobs.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> print(regularizers.reverse_kl(new, old, new)[0])  # the reference is `old`: k3
    [[0.1433 0.     2.3906]]
    >>> print(jax.grad(lambda l: regularizers.reverse_kl(l, old, new)[0].sum())(new))  # d
    [[ 0.5878  0.     -1.6094]]

  Source: derived here; proved by enumeration in tests/test_enumeration.py.
  Differs from the source: public implementations put k3 itself in the loss (`forward_k3`).
  Fidelity: adapted
  """
  if mismatch_correction and policy_logprobs is None:
    raise ValueError('reverse_kl: mismatch_correction needs policy_logprobs')
  logprobs = widen(logprobs)
  drawn = widen(policy_logprobs if mismatch_correction else old_logprobs)
  ref_logprobs, drawn = sg((widen(ref_logprobs), drawn))
  d = sg(logprobs) - ref_logprobs
  value = k3(d)
  slope = jnp.minimum(ratio_of(sg(logprobs), drawn), max_ratio) * d
  loss = slope * (logprobs - sg(logprobs)) + jnp.minimum(value, max_value)
  return loss, {'kl_ref': value}


@declare()
def full_reverse_kl(full_kl: Array) -> tuple[Array, dict[str, Array]]:
  """KL_t = Σ_v π(v|s_t)·(log π(v|s_t) − log ref(v|s_t)): token-local, no noise of the action.

  Args:
    full_kl: float [..., T], nats: the statistic of that name; differentiated.

  Returns:
    (loss [..., T], diagnostics: `kl_ref`, nats).

  Examples:
    >>> print(regularizers.full_reverse_kl(jnp.array([[0.0, 0.3]]))[0])
    [[0.  0.3]]

  Source: the definition.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return widen(full_kl), {'kl_ref': sg(widen(full_kl))}


@declare()
def kl_reward(old_logprobs: Array, ref_logprobs: Array) -> tuple[Array, dict[str, Array]]:
  """sg(ℓ° − ℓ^ref) per token, to be subtracted from rewards: the KL of whole sequences.

  Right with returns to go (γ = 1) or with the sum over the sequence on every token (that is where
  an advantage per sample puts it); with its own token alone (γ = 0) it is the token-local KL. With
  a scale of the advantages the coefficient is divided by that scale.

  Args:
    old_logprobs: float [..., T], nats, of the policy that drew the tokens. Constant.
    ref_logprobs: float [..., T], nats. Constant.

  Returns:
    (penalty [..., T], nats, no diagnostics).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> print(regularizers.kl_reward(new, old)[0])  # to be taken off the rewards
    [[ 0.5878  0.     -1.6094]]

  Source: Ziegler et al. 2019, arXiv 1909.08593, equation 2.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  return sg(k1(widen(old_logprobs) - widen(ref_logprobs))), {}


@declare()
def k3_reward(old_logprobs: Array, ref_logprobs: Array) -> tuple[Array, dict[str, Array]]:
  """sg(e^{−d} − 1 + d), d = ℓ° − ℓ^ref, to be subtracted from rewards; here for comparisons.

  No KL has its gradient: with its own token it is ∇KL(π ‖ ref) − ∇KL(ref ‖ π), for an estimator of
  the KL's value is no score of its gradient. `kl_reward` is right.

  Args:
    old_logprobs: float [..., T], nats, of the policy that drew the tokens. Constant.
    ref_logprobs: float [..., T], nats. Constant.

  Returns:
    (penalty [..., T], nats, no diagnostics).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> print(regularizers.k3_reward(new, old)[0])
    [[0.1433 0.     2.3906]]

  Source: public implementations: 'low_var_kl' as the penalty of the reward.
  Differs from the source: d is clamped to ±20.
  Fidelity: faithful
  """
  return sg(k3(widen(old_logprobs) - widen(ref_logprobs))), {}
