"""Advantage-leftover-lunch: offline policy gradient with whole completions as actions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.ratios import constant_ratio
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient

RATIOS = ('sequence', 'token', 'none')


@declare(couples='sequence')
def a_lol(
  logprobs: Array,
  ref_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  clip: float = 0.9,
  ratio: str = 'sequence',
) -> tuple[Array, dict[str, Array]]:
  """A > 0: −sg(clip(Π_t π/ref, 1 − clip, 1 + clip))·A·ℓ;  A ≤ 0: 0.

  Offline: the completions are given, A = R − V of the reference policy, and completions that the
  reference would better are left out. `ratio` 'token' is A-LoL seq. (the token's own ratio), 'none'
  is A-LoL ref-free (weight 1).

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated (the ratio is constant).
    ref_logprobs: float [..., T], nats. Constant.
    advantages: float [..., T]. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    clip: half width of the band around 1.
    ratio: 'sequence', 'token' or 'none'.

  Returns:
    (loss [..., T], diagnostics: `ratio_max` the ratio, 1 if there is none, `kept` 1 where A > 0).

  Raises:
    ValueError: an unknown ratio.

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> loss, seen = losses.a_lol(new, old, jnp.array([[1.0, 1.0, -1.0]]), *row)
    >>> print(loss)  # Π π/ref = 0.36 is the weight; what is worse than the reference is left out
    [[0.0379 0.2495 0.    ]]

  Source: Baheti et al. 2023, arXiv 2305.14718.
  Differs from the source: formula not confirmed against the paper; log-ratios are clamped to ±20.
  Fidelity: recalled
  """
  if ratio not in RATIOS:
    raise ValueError(f'ratio {ratio!r} is not one of {", ".join(RATIOS)}')
  logprobs, advantages = widen(logprobs), sg(widen(advantages))
  where = (action_mask, segment_ids, sample_ids)
  if ratio == 'none':
    found = jnp.ones_like(logprobs)
  else:
    found = constant_ratio(logprobs, ref_logprobs, *where, level=ratio)
  good = advantages > 0
  weight = jnp.where(good, jnp.clip(found, 1 - clip, 1 + clip) * advantages, 0)
  return -weight * logprobs, {'ratio_max': found, 'kept': good.astype(found.dtype)}
