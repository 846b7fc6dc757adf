"""Tapered off-policy REINFORCE: full weight for good completions, a bounded ratio for bad ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.ratios import constant_ratio
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare(couples='sequence', traits=('on_policy_is_reinforce',))
def topr(
  logprobs: Array,
  policy_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  baseline: float = 0.0,
  positive_weight: float = 1.0,
  negative_weight: float = 1.0,
  level: str = 'sequence',
) -> tuple[Array, dict[str, Array]]:
  """R ≥ 0: −R·ℓ;  R < 0: −sg(min(Π_t π/μ, 1))·R·ℓ;  R = A − baseline.

  A bad completion that the policy has already left is pushed down no further, so the loss is
  bounded below without a KL; good ones count however unlikely they are now. The advantages are
  meant to be the rewards themselves (±1; group_normalize with center and scale 'none'): the
  baseline then sets the effective share of good completions. Advantages that a group has centred
  choose another split.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated (the ratio is constant).
    policy_logprobs: float [..., T], nats, ℓ^μ, of the sampler. Constant.
    advantages: float [..., T]. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    baseline: subtracted from the advantages, units of the reward.
    positive_weight: factor where R ≥ 0.
    negative_weight: factor where R < 0.
    level: of the ratio: 'sequence' = the whole completion, 'token' = the token's own (ROLL).

  Returns:
    (loss [..., T], diagnostics: `ratio_max` the ratio, `clip_high` 1 where R < 0 and it was cut to
    1).

  Raises:
    ValueError: an unknown level.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> loss = lambda l: losses.topr(l, old, jnp.array([[1.0, -1.0, -1.0]]), *row)[0].sum()
    >>> print(jax.grad(loss)(new))  # good: whole; bad: times min(Π π/μ, 1) = 0.36
    [[-1.    0.36  0.36]]

  Source: Le Roux et al. 2025, arXiv 2503.14286, the TOPR gradient; level 'token': public
    implementations: ROLL.
  Differs from the source: log-ratios are clamped to ±20; the two weights and the baseline inside
    the loss are added.
  Fidelity: faithful
  """
  where = (action_mask, segment_ids, sample_ids)
  ratio = constant_ratio(logprobs, policy_logprobs, *where, level=level)
  rewards = sg(widen(advantages)) - baseline
  bad = rewards < 0
  weight = jnp.where(bad, negative_weight * jnp.minimum(ratio, 1), positive_weight)
  diagnostics = {'ratio_max': ratio, 'clip_high': (bad & (ratio > 1)).astype(ratio.dtype)}
  return -weight * rewards * widen(logprobs), diagnostics
