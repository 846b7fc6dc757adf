"""GMPO: the geometric mean of ratios that are clipped one by one."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array


@declare(couples='sequence', traits=('on_policy_is_reinforce',))
def gmpo(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  clip_low: float = 0.4,
  clip_high: float = 0.4,
) -> tuple[Array, dict[str, Array]]:
  """−A·exp(mean_t c_t), c_t = min(d_t, clip_high) where A > 0, max(d_t, −clip_low) where A < 0.

  d_t = ℓ_t − ℓ°_t; the band is in log space: .4 is a ratio from e^−.4 to e^.4. Every token of a
  sample has the sample's loss, so weights 1/(B·T_i) (seq_mean_token_mean) give the paper's mean
  over samples. Without clipping it is `gspo` without clipping; of one token it is PPO with the
  bounds e^−clip_low and e^clip_high.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    advantages: float [..., T], one number for the tokens of a sample. Constant.
    action_mask: bool [..., T]; the tokens of the mean.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    clip_low: width of the band below, nats.
    clip_high: width of the band above, nats.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` the geometric mean, `clip_low` and
    `clip_high` 1 where the token's own log-ratio was clipped, `kl_old` the k3 estimate of the
    token, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> loss, seen = losses.gmpo(new, old, jnp.ones((1, 3)), *row)
    >>> print(loss)  # exp of the mean of min(log r, 0.4): one value for the sample
    [[-0.6682 -0.6682 -0.6682]]

  Source: Zhao et al. 2025, arXiv 2507.20673.
  Differs from the source: log-ratios are clamped to ±20; a log-ratio exactly on a bound counts as
    inside.
  Fidelity: faithful
  """
  advantages = ratios.constant(advantages)
  log_ratio = clamp(ratios.difference(logprobs, old_logprobs))
  clipped, below, above = ratios.charge(log_ratio, advantages, -clip_low, clip_high)
  mean = ratios.sequence_mean(clipped, action_mask, segment_ids, sample_ids)
  ratio = jnp.exp(ratios.spread(mean, segment_ids))
  return -advantages * ratio, ratios.diagnostics(ratio, log_ratio, below, above)
