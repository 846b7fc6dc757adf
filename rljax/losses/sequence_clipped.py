"""PPO's clip on the ratio of the whole completion."""

from __future__ import annotations

import jax

from rljax.log_ratios import clamp, clamped_exp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array


@declare(couples='sequence')
def sequence_clipped(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> tuple[Array, dict[str, Array]]:
  """max(−A·W, −A·clip(W, 1−clip_low, 1+clip_high)), W = exp(Σ_t(ℓ_t − ℓ°_t)) of the sample.

  The completion as one action, as in RLOO. Every token of a sample has the sample's loss, so
  weights 1/(B·T_i) (seq_mean_token_mean) give the mean over samples; on-policy its gradient is then
  −A·Σ_t ∇ℓ_t for each sample. Of one token: PPO.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    advantages: float [..., T], one number for the tokens of a sample. Constant.
    action_mask: bool [..., T]; the tokens of the sum.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    clip_low: width of the band below 1, fraction.
    clip_high: width of the band above 1, fraction.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` W, `clip_low` and `clip_high` 1 where the
    bound took the gradient away, `kl_old` the k3 estimate of the token, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> loss, seen = losses.sequence_clipped(new, old, -jnp.ones((1, 3)), *row)
    >>> print(seen['ratio_max'])  # the product 1.8·1·0.2
    [[0.36 0.36 0.36]]
    >>> print(loss)  # below 0.8 with A < 0
    [[0.8 0.8 0.8]]

  Source: public implementations of RLOO (Ahmadian et al. 2024, arXiv 2402.14740, has no ratio).
  Differs from the source: log W is clamped to ±20.
  Fidelity: faithful
  """
  advantages = ratios.constant(advantages)
  log_ratio = ratios.difference(logprobs, old_logprobs)
  total, _ = ratios.sequence_sum(log_ratio, action_mask, segment_ids, sample_ids)
  ratio = clamped_exp(ratios.spread(total, segment_ids))
  charged, below, above = ratios.charge(ratio, advantages, 1 - clip_low, 1 + clip_high)
  found = ratios.diagnostics(ratio, clamp(log_ratio), below, above)
  return -advantages * charged, found
