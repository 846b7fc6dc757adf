"""BAPO: bounds of the ratio that give tokens with A > 0 their share of the gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array


@declare(traits=('on_policy_is_reinforce',))
def bapo(
  logprobs: Array,
  policy_logprobs: Array,
  advantages: Array,
  ratio_low: Array,
  ratio_high: Array,
) -> tuple[Array, dict[str, Array]]:
  """max(−A·ρ, −A·clip(ρ, ratio_low, ratio_high)), ρ = exp(ℓ − ℓ^μ), with bounds that are data.

  The bounds are arrays from before the update, of `balanced_bound` with side 'low' and 'high'.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    policy_logprobs: float [..., T], nats, ℓ^μ, of the policy that drew the tokens. Constant.
    advantages: float [..., T]. Constant.
    ratio_low: float [..., T], below 1: the lower bound itself. Constant.
    ratio_high: float [..., T], above 1: the upper bound itself. Constant.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` ρ, `clip_low` and `clip_high` 1 where the
    bound took the gradient away, `kl_old` the k3 estimate of KL(μ ‖ π), nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> low, high = jnp.full((1, 3), 0.8), jnp.full((1, 3), 1.5)
    >>> loss, seen = losses.bapo(new, old, jnp.ones((1, 3)), low, high)
    >>> print(loss)  # ratios 1.8, 1, 0.2
    [[-1.5 -1.  -0.2]]

  Source: Xi et al. 2025, arXiv 2510.18927.
  Differs from the source: the bounds are found once for a minibatch, before its step and so from
    old log-probs, where the authors search them in every micro-batch with the present policy;
    log-ratios are clamped to ±20.
  Fidelity: adapted
  """
  advantages = ratios.constant(advantages)
  low, high = ratios.constant(ratio_low), ratios.constant(ratio_high)
  log_ratio = clamp(ratios.difference(logprobs, policy_logprobs))
  ratio = jnp.exp(log_ratio)
  charged, below, above = ratios.charge(ratio, advantages, low, high)
  return -advantages * charged, ratios.diagnostics(ratio, log_ratio, below, above)


def balanced_bound(
  old_logprobs: Array,
  policy_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  *,
  side: str,
  positive_share: float = 0.5,
  low_start: float = 0.6,
  low_end: float = 0.9,
  high_start: float = 1.2,
  high_end: float = 3.0,
  num_steps: int = 18,
) -> Array:
  """The narrowest bounds with Σ_{A>0} g ≥ positive_share·Σ g, g = |A|·w where they do not clip.

  w = exp(ℓ° − ℓ^μ) is the ratio before the update. The upper bound is raised in steps to `high_end`
  (more of A > 0), then the lower one to `low_end` (less of A < 0); the last pair is taken where no
  pair gives the share. Both bounds come of the same search: give both the same numbers. On-policy
  (w = 1) no bound changes the share.

  Args:
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    policy_logprobs: float [..., T], nats, ℓ^μ. Constant.
    advantages: float [..., T]. Constant.
    action_mask: bool [..., T]; one minibatch.
    side: 'low' or 'high': which bound of the pair.
    positive_share: the share of the gradient that tokens with A > 0 should have, fraction.
    low_start: first lower bound.
    low_end: last lower bound.
    high_start: first upper bound.
    high_end: last upper bound.
    num_steps: steps of each bound from its start to its end.

  Returns:
    at least float32 [..., T], one number for the minibatch.

  Raises:
    ValueError: an unknown side.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> advantages, mask = jnp.array([[1.0, -1.0, -1.0]]), jnp.ones((1, 3), bool)
    >>> for side in ('low', 'high'):
    ...   print(losses.balanced_bound(new, old, advantages, mask, side=side))
    [[0.6 0.6 0.6]]
    [[1.8 1.8 1.8]]

  Source: Xi et al. 2025, arXiv 2510.18927; ranges: the authors' configuration.
  Differs from the source: formula not confirmed against the paper; the share is of the gradient of
    tokens that are not clipped, so that both bounds act in one direction only; equal steps.
  Fidelity: adapted
  """
  if side not in ('low', 'high'):
    raise ValueError(f"balanced_bound: side {side!r} is neither 'low' nor 'high'")
  advantages = ratios.constant(advantages)
  log_ratio = clamp(ratios.constant(ratios.difference(old_logprobs, policy_logprobs)))
  ratio = jnp.exp(log_ratio)
  rise = jnp.arange(num_steps + 1) / num_steps
  stay = jnp.ones(num_steps)
  high = high_start + (high_end - high_start) * jnp.concatenate([rise, stay])
  low = low_start + (low_end - low_start) * jnp.concatenate([0 * rise, rise[1:]])

  def suffices(bounds):
    _, below, above = ratios.charge(ratio, advantages, *bounds)
    push = jnp.where(below | above, 0, jnp.abs(advantages) * ratio)
    positive = masking.masked_sum(push, action_mask & (advantages > 0))
    return positive >= positive_share * masking.masked_sum(push, action_mask)

  enough = jax.lax.map(suffices, (low, high))
  chosen = jnp.where(jnp.any(enough), jnp.argmax(enough), 2 * num_steps)
  return jnp.full_like(ratio, 1) * (low if side == 'low' else high)[chosen]
