"""Tokens or samples at which sampler and trainer disagree too much are rejected."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.corrections.ratio import (
  in_denominator,
  log_weights,
  segment_max,
  segment_mean,
  weight,
)
from rljax.log_ratios import clamp

Array = jax.Array

LEVELS = ('token', 'sequence')
AGGREGATES = ('mean', 'sum', 'max')
DIVERGENCES = ('k1', 'k2', 'k3')


def divergence(log_weight: Array, kind: str) -> Array:
  """k1 = log w, k2 = (log w)²/2, k3 = w − 1 − log w, with log w clamped to ±20."""
  d = clamp(log_weight)
  if kind == 'k1':
    return d
  # expm1: w − 1 is precise where w is near 1.
  return jnp.square(d) / 2 if kind == 'k2' else jnp.expm1(d) - d


def divergence_rejection(
  old_logprobs: Array,
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  level: str = 'sequence',
  aggregate: str = 'mean',
  kind: str = 'k3',
  upper: float | None = 0.01,
  lower: float | None = None,
  weighted: bool = False,
  denominator: str = 'all',
) -> tuple[Array, Array]:
  """1[lower ≤ D ≤ upper], or w_t times it; D = k(log w_t), or its mean, sum, max over a sample.

  k1 is log w itself (positive where the trainer finds the token more likely), so bounds ± log 2 on
  it keep w in [½, 2]; k2 and k3 are its distances from 0. Special cases: k3 mean 0.01, k1 sum with
  bounds ± log 2, and (token, k1) the two bounds of a ratio.

  Args:
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    policy_logprobs: float [..., T], nats, ℓ^μ. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S]; gives the number of places of a row.
    level: 'token', or 'sequence': all tokens of a sample share one verdict.
    aggregate: of a sample's tokens: 'mean', 'sum', or 'max': every token must lie in the bounds.
    kind: 'k1', 'k2' or 'k3'.
    upper, lower: nats, on D itself; None = off.
    weighted: what is kept has the weight w_t; otherwise 1.
    denominator: 'all': what is rejected has weight 0 and stays in the average; 'kept': it leaves.

  Returns:
    (weight at least float32 [..., T], counted bool [..., T]). A token whose log-probs are not
    finite leaves the aggregate, has weight 0 and is not counted.

  Raises:
    ValueError: an unknown level, aggregate, kind or denominator.

  Examples:
    >>> old, policy = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> print(corrections.divergence_rejection(old, policy, *row)[0])  # the mean k3 is above 0.01
    [[0. 0. 0.]]
    >>> print(corrections.divergence_rejection(old, policy, *row, level='token')[0])
    [[0. 1. 0.]]

  Source: public implementations (rejection sampling of verl and AReaL).
  Differs from the source: log w is clamped to ±20; bounds are on log w, where verl's k1 bounds are
    on −log w.
  Fidelity: adapted
  """
  for name, value, known in (
    ('level', level, LEVELS),
    ('aggregate', aggregate, AGGREGATES),
    ('kind', kind, DIVERGENCES),
  ):
    if value not in known:
      raise ValueError(f'divergence_rejection: {name} {value!r} is not one of {", ".join(known)}')
  log_weight, usable = log_weights(old_logprobs, policy_logprobs, action_mask, segment_ids)
  each, places = divergence(log_weight, kind), sample_ids.shape[-1]
  if level == 'token':
    top = bottom = each
  elif aggregate == 'max':
    top = segment_max(each, usable, segment_ids, places)
    bottom = -segment_max(-each, usable, segment_ids, places)
  else:
    # Tokens that are not usable have log w = 0, and so D = 0.
    total = masking.segment_sum(each, segment_ids, places)
    mean = segment_mean(each, usable, segment_ids, places)
    top = bottom = mean if aggregate == 'mean' else total
  if level == 'sequence':
    top, bottom = (masking.segment_to_token(x, segment_ids) for x in (top, bottom))
  kept = usable
  if upper is not None:
    kept = kept & (top <= upper)
  if lower is not None:
    kept = kept & (bottom >= lower)
  counted = in_denominator('divergence_rejection', denominator, usable, kept)
  value = weight(log_weight) if weighted else jnp.ones_like(log_weight)
  return jnp.where(kept, value, 0), counted
