"""One off-policy gradient of reward and KL: the RPG family."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamped_exp
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient

DIVERGENCES = ('forward', 'unnormalized_forward', 'reverse', 'unnormalized_reverse')


@declare()
def regularized_policy_gradient(
  logprobs: Array,
  old_logprobs: Array,
  ref_logprobs: Array,
  advantages: Array,
  *,
  divergence: str = 'unnormalized_forward',
  kl_coef: float = 1e-4,
  clip_low: float = 0.2,
  clip_high: float = 0.28,
  max_ratio: float = 10.0,
) -> tuple[Array, dict[str, Array]]:
  """−sg(clip(ρ)·A − β·k)·ℓ, ρ = π/π°; k by the divergence, with s = ref/π° and d = ℓ − ℓ^ref.

  forward KL(ref ‖ π): k = −s; unnormalized_forward: k = ρ − s; reverse KL(π ‖ ref):
  k = ρ·(d + 1); unnormalized_reverse: k = ρ·d. Over samples of π° each has the expected gradient
  of its divergence per state (token-local, over the prefixes of π°); the unnormalized ones have the
  same and are 0 for every sample where π = ref, so they are less noisy. On-policy,
  unnormalized_reverse is k2 in the loss and unnormalized_forward is k3 in the loss. The KL is part
  of this loss, so it gets the loss's weights and not those of a regularizer.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated (the whole weight is constant).
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    ref_logprobs: float [..., T], nats, ℓ^ref; the paper has ℓ° here. Constant.
    advantages: float [..., T]. Constant.
    divergence: one of the four.
    kl_coef: β, units of the advantage per nat.
    clip_low: lower bound of ρ in the reward's part, as a distance from 1.
    clip_high: upper bound of ρ in the reward's part, as a distance from 1.
    max_ratio: bound of ρ and s in the KL's part.

  Returns:
    (loss [..., T], of which only the gradient means something; diagnostics: `ratio_max` ρ,
    `clip_low` and `clip_high` 1 where a bound was reached, `kl_weight` k).

  Raises:
    ValueError: an unknown divergence.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> args = old, old, jnp.zeros((1, 3))  # the reference is the old policy, A = 0
    >>> loss = lambda l: losses.regularized_policy_gradient(l, *args, kl_coef=0.1)[0].sum()
    >>> print(jax.grad(loss)(new))  # only the KL acts: 0.1·(ρ − 1) pulls back to the reference
    [[ 0.08 -0.   -0.08]]

  Source: Zhang et al. 2025, arXiv 2505.17508, and the authors' code (REINFORCE style, hard clip).
  Differs from the source: the reference may be another policy than π°; the KL's ratio has a bound
    of its own, where the code clips it like the reward's and so biases the KL.
  Fidelity: adapted
  """
  if divergence not in DIVERGENCES:
    raise ValueError(f'divergence {divergence!r} is not one of {", ".join(DIVERGENCES)}')
  logprobs = widen(logprobs)
  now = sg(logprobs)
  old_logprobs, ref_logprobs, advantages = sg(
    (widen(old_logprobs), widen(ref_logprobs), widen(advantages))
  )
  ratio = clamped_exp(now - old_logprobs)
  bounded = jnp.minimum(ratio, max_ratio)
  drawn = jnp.minimum(clamped_exp(ref_logprobs - old_logprobs), max_ratio)
  if divergence == 'forward':
    kl_weight = -drawn
  elif divergence == 'unnormalized_forward':
    kl_weight = bounded - drawn
  elif divergence == 'reverse':
    kl_weight = bounded * (now - ref_logprobs + 1)
  else:
    kl_weight = bounded * (now - ref_logprobs)
  weight = jnp.clip(ratio, 1 - clip_low, 1 + clip_high) * advantages - kl_coef * kl_weight
  diagnostics = {
    'ratio_max': ratio,
    'clip_low': (ratio < 1 - clip_low).astype(ratio.dtype),
    'clip_high': (ratio > 1 + clip_high).astype(ratio.dtype),
    'kl_weight': kl_weight,
  }
  return -weight * logprobs, diagnostics
