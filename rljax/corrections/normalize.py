"""Self-normalised importance weights: their mean over the minibatch is 1."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.corrections.ratio import log_weights, sequence_log_weights, weight

Array = jax.Array

LEVELS = ('token', 'sequence')


def self_normalize(
  old_logprobs: Array,
  policy_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  level: str = 'token',
  max_weight: float | None = None,
) -> tuple[Array, Array]:
  """w / mean(w) over the minibatch; w_t of the token, or Π_t w_t of the sample.

  The mean is over usable tokens at level 'token', over samples at level 'sequence'. Nothing is
  rejected.

  Args:
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    policy_logprobs: float [..., T], nats, ℓ^μ. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T], −1 = padding.
    sample_ids: int32 [..., S]; gives the number of places of a row.
    level: 'token' or 'sequence'.
    max_weight: cap on w before the mean is taken; None = off.

  Returns:
    (weight at least float32 [..., T], counted bool [..., T]). A token whose log-probs are not
    finite has weight 0, and is neither counted nor in the mean.

  Raises:
    ValueError: an unknown level.

  Examples:
    >>> old, policy = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> weight, counted = corrections.self_normalize(old, policy, *row)
    >>> print(weight, weight.mean())
    [[1.8 1.  0.2]] 1.0

  Source: self-normalised importance sampling; the cap before it as in public implementations.
  Differs from the source: log w (its sum at level 'sequence') is clamped to ±20.
  Fidelity: faithful
  """
  if level not in LEVELS:
    raise ValueError(f'self_normalize: level {level!r} is not one of {", ".join(LEVELS)}')
  log_weight, usable = log_weights(old_logprobs, policy_logprobs, action_mask, segment_ids)
  if level == 'sequence':
    log_weight = sequence_log_weights(log_weight, segment_ids, sample_ids)
  w = weight(log_weight)
  if max_weight is not None:
    w = jnp.minimum(w, max_weight)
  w = jnp.where(usable, w, 0)
  # Each sample of n usable tokens counts 1/n on each of them.
  share = usable.astype(w.dtype)
  if level == 'sequence':
    count = masking.segment_sum(usable, segment_ids, sample_ids.shape[-1])
    share = share / jnp.maximum(masking.segment_to_token(count, segment_ids), 1)
  total = jnp.sum(share)
  mean = jnp.sum(share * w) / jnp.where(total > 0, total, 1)
  return w / jnp.where(mean > 0, mean, 1), usable
