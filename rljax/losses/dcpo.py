"""DCPO: the band of the ratio is wider for tokens that were improbable."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp, clamped_exp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array


@declare(traits=('on_policy_is_reinforce',))
def dcpo(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  *,
  clip_low: float = 0.16,
  clip_high: float = 0.2,
  max_ratio: float = 10.0,
) -> tuple[Array, dict[str, Array]]:
  """max(−A·r, −A·clip(r, b₋, b₊)), b₋ = ½+½√max(1−4·clip_low/q, 0), b₊ = ½+½√(1+4·clip_high/q).

  q = exp(ℓ°) is the probability before the update. The bounds solve r·|r − 1|·q = ε: a weighted
  change of probability and not a ratio is what is limited. At q = 1 the band is [.8, 1.17]; at
  q ≤ 4·clip_low the lower bound is ½, and the upper one grows like √(clip_high/q) up to max_ratio.
  max_ratio is a dual clip too: a token with A < 0 is charged for no larger ratio.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°, of the policy that drew the tokens. Constant.
    advantages: float [..., T]. Constant.
    clip_low: ε of the lower bound.
    clip_high: ε of the upper bound.
    max_ratio: the largest upper bound, and the largest ratio charged where A < 0.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` r, `clip_low` and `clip_high` 1 where the
    bound took the gradient away (the dual clip counts as upper), `kl_old` the k3 estimate, nats).

  Examples:
    >>> old = jnp.log(jnp.array([[0.9, 0.5, 0.01]]))
    >>> loss, seen = losses.dcpo(old + jnp.log(3.0), old, jnp.ones((1, 3)))
    >>> print(loss)  # the ratio is 3: a rare token may keep it, a common one not
    [[-1.1872 -1.3062 -3.    ]]

  Source: Yang et al. 2025, arXiv 2509.02333, equations 3 and 4, and the authors' code.
  Differs from the source: its smoothed standardisation of advantages and its aggregation (weights
    1/T_i) are not of the loss; log-ratios are clamped to ±20.
  Fidelity: faithful
  """
  advantages = ratios.constant(advantages)
  log_ratio = clamp(ratios.difference(logprobs, old_logprobs))
  ratio = jnp.exp(log_ratio)
  per_probability = clamped_exp(-ratios.constant(old_logprobs))
  low = 0.5 + 0.5 * jnp.sqrt(jnp.maximum(1 - 4 * clip_low * per_probability, 0))
  high = 0.5 + 0.5 * jnp.sqrt(1 + 4 * clip_high * per_probability)
  charged, below, above = ratios.charge(ratio, advantages, low, jnp.minimum(high, max_ratio))
  beyond = (advantages < 0) & (ratio > max_ratio)
  charged = jnp.where(beyond, max_ratio, charged)
  return -advantages * charged, ratios.diagnostics(ratio, log_ratio, below, above | beyond)
