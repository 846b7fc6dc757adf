"""One estimator for policy gradients and supervised fine-tuning."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamped_exp
from rljax.losses.clipped_surrogate import clipped_surrogate
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient

REFERENCES = ('policy', 'one', 'old')


@declare()
def unified_policy_gradient(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  is_external: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  reference: str = 'policy',
  external_advantage: float = 1.0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> tuple[Array, dict[str, Array]]:
  """−1_stable·Â·π/sg(π_ref): own: the clipped surrogate;  external: nothing is cut, Â constant.

  The gradient is 1_stable·(1/π_ref)·Â·∇π, of which methods choose the four parts. Own tokens have
  PPO's: the mask of the clip, π_ref = π°, the advantage. On external ones, with Â = 1, π_ref = π
  is supervised fine-tuning (∇ log π), π_ref = 1 takes their author to be sure of each, π_ref = π°
  is an unclipped ratio.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°. Constant; of external tokens used by 'old' alone.
    advantages: float [..., T]. Constant; not used on external tokens.
    is_external: bool [N], not sampled by the policy.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    reference: π_ref of external tokens: 'policy', 'one' or 'old'.
    external_advantage: Â of external tokens.
    clip_low: of the surrogate of own tokens.
    clip_high: of the surrogate of own tokens.

  Returns:
    (loss [..., T], diagnostics of own tokens, 0 on external ones, as in `clipped_surrogate`, and
    `external` 1 on external tokens).

  Raises:
    ValueError: an unknown reference.

  Examples:
    >>> logprobs, advantages = jnp.log(jnp.array([[0.9, 0.1, 0.01]])), jnp.zeros((1, 3))
    >>> where = jnp.array([True]), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)
    >>> for reference in ('policy', 'one'):
    ...   loss = lambda l: losses.unified_policy_gradient(
    ...     l, logprobs, advantages, *where, reference=reference
    ...   )[0].sum()
    ...   print(jax.grad(loss)(logprobs))  # external: supervised fine-tuning, then −∇π
    [[-1. -1. -1.]]
    [[-0.9  -0.1  -0.01]]

  Source: Lv et al. 2025, "Towards a Unified View of Large Language Model Post-Training" (HPT).
  Differs from the source: the estimator is as described there, its use as one loss of both kinds
    of tokens is not confirmed against it; log-probs and log-ratios are clamped to ±20.
  Fidelity: recalled
  """
  if reference not in REFERENCES:
    raise ValueError(
      f'unified_policy_gradient: reference {reference!r} is not one of {", ".join(REFERENCES)}'
    )
  external = masking.sample_to_token(is_external, sample_ids, segment_ids)
  logprobs = widen(logprobs)
  known = old_logprobs if reference == 'old' else logprobs
  # Nobody may know an external token's ℓ°; in the branch not taken NaN would reach the gradient.
  old_logprobs = sg(jnp.where(external, widen(known), widen(old_logprobs)))
  own, diagnostics = clipped_surrogate(
    logprobs, old_logprobs, advantages, clip_low=clip_low, clip_high=clip_high
  )
  anchor = jnp.zeros_like(logprobs) if reference == 'one' else old_logprobs
  given = -external_advantage * clamped_exp(logprobs - anchor)
  diagnostics = {name: jnp.where(external, 0, x) for name, x in diagnostics.items()}
  return jnp.where(external, given, own), diagnostics | {'external': external.astype(given.dtype)}
