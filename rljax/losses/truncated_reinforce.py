"""REINFORCE weighted by a truncated ratio to the sampler."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.ratios import constant_ratio
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array


@declare(traits=('on_policy_is_reinforce',))
def truncated_reinforce(
  logprobs: Array,
  policy_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  min_ratio: float = 0.0,
  max_ratio: float = 2.0,
  level: str = 'token',
) -> tuple[Array, dict[str, Array]]:
  """−sg(clip(π/μ, min_ratio, max_ratio))·A·ℓ.

  Every token keeps its gradient; only the weight is bounded. Special cases: REINFORCE+IS (0, 2),
  TIS-PG (0, 1), torchforge (0.1, 10), and with level 'sequence' and no bounds the off-policy
  policy gradient that is exact in expectation. Not to be combined with a correction for the same
  ratio.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated (the ratio is constant).
    policy_logprobs: float [..., T], nats, ℓ^μ, of the sampler. Constant.
    advantages: float [..., T]. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    min_ratio: lower bound of the weight.
    max_ratio: upper bound of the weight.
    level: 'token': the token's ratio; 'sequence': that of the whole completion, on all its tokens.

  Returns:
    (loss [..., T], diagnostics: `ratio_max` the ratio before the bounds, `clip_low` and
    `clip_high` 1 where a bound was reached).

  Raises:
    ValueError: an unknown level.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> args = old, jnp.ones((1, 3)), *row
    >>> loss = lambda l: losses.truncated_reinforce(l, *args, max_ratio=1.0)[0].sum()
    >>> print(jax.grad(loss)(new))
    [[-1.  -1.  -0.2]]

  Source: Espeholt et al. 2018, arXiv 1802.01561 (the truncation); public
    implementations: verl, ROLL, torchforge.
  Differs from the source: log-ratios are clamped to ±20.
  Fidelity: faithful
  """
  where = (action_mask, segment_ids, sample_ids)
  ratio = constant_ratio(logprobs, policy_logprobs, *where, level=level)
  advantages = jax.lax.stop_gradient(widen(advantages))
  diagnostics = {
    'ratio_max': ratio,
    'clip_low': (ratio < min_ratio).astype(ratio.dtype),
    'clip_high': (ratio > max_ratio).astype(ratio.dtype),
  }
  return -jnp.clip(ratio, min_ratio, max_ratio) * advantages * widen(logprobs), diagnostics
