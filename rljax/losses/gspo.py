"""GSPO: PPO's clip on the geometric mean of the ratios of a sample."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import clamp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


def _log_ratios(logprobs, old_logprobs, action_mask, segment_ids, sample_ids):
  """(mean log-ratio of the token's sample, log-ratio of the token), both [..., T] and clamped."""
  log_ratio = ratios.difference(logprobs, old_logprobs)
  mean = ratios.sequence_mean(log_ratio, action_mask, segment_ids, sample_ids)
  return clamp(ratios.spread(mean, segment_ids)), clamp(log_ratio)


@declare(couples='sequence', traits=('on_policy_is_reinforce',))
def gspo(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  clip_low: float = 3e-4,
  clip_high: float = 4e-4,
) -> tuple[Array, dict[str, Array]]:
  """max(−A·s, −A·clip(s, 1−clip_low, 1+clip_high)), s = exp(mean_t(ℓ_t − ℓ°_t)) of the sample.

  Every token of a sample has the sample's loss. With weights 1/(B·T_i) (seq_mean_token_mean) this
  is the paper's objective; with a token mean, samples count by their length. LUSPO, which
  multiplies the sample's loss by T_i, is this loss (or `gspo_token`) with weights 1/B
  (seq_mean_token_sum). Of one token: PPO.

  The defaults presume completions of 10³ to 10⁴ tokens, whose mean hardly moves; for 5 to 50 tokens
  take about 3e-2.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    advantages: float [..., T], one number for the tokens of a sample. Constant.
    action_mask: bool [..., T]; the tokens of the mean.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    clip_low: width of the band below 1, fraction.
    clip_high: width of the band above 1, fraction.

  Returns:
    (loss [..., T], diagnostics of [..., T]: `ratio_max` s, `clip_low` and `clip_high` 1 where the
    bound took the gradient away, `kl_old` the k3 estimate of the token, nats).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> loss, seen = losses.gspo(new, old, -jnp.ones((1, 3)), *row, clip_low=0.03, clip_high=0.04)
    >>> print(seen['ratio_max'])  # the geometric mean of 1.8, 1 and 0.2, on each token
    [[0.7114 0.7114 0.7114]]
    >>> print(loss)  # below the band with A < 0: the bound
    [[0.97 0.97 0.97]]

  Source: Zheng et al. 2025, arXiv 2507.18071, equations 5 and 7.
  Differs from the source: log s is clamped to ±20.
  Fidelity: faithful
  """
  advantages = ratios.constant(advantages)
  mean, log_ratio = _log_ratios(logprobs, old_logprobs, action_mask, segment_ids, sample_ids)
  ratio = jnp.exp(mean)
  charged, below, above = ratios.charge(ratio, advantages, 1 - clip_low, 1 + clip_high)
  return -advantages * charged, ratios.diagnostics(ratio, log_ratio, below, above)


@declare(couples='sequence', traits=('on_policy_is_reinforce',))
def gspo_token(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  clip_low: float = 3e-4,
  clip_high: float = 4e-4,
) -> tuple[Array, dict[str, Array]]:
  """max(−A·s_t, −A·clip(s_t, 1−clip_low, 1+clip_high)), s_t = sg(s)·π_t/sg(π_t), s of `gspo`.

  The value of `gspo`, and the gradient of a token goes to its own log-prob alone: tokens of a
  sample may have different advantages. With equal advantages and weights within each sample, both
  have the same gradient.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    advantages: float [..., T]. Constant.
    action_mask: bool [..., T]; the tokens of the mean.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    clip_low: width of the band below 1, fraction; see `gspo` on its scale.
    clip_high: width of the band above 1, fraction.

  Returns:
    (loss [..., T], diagnostics of [..., T] as those of `gspo`).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> advantages = jnp.array([[1.0, 1.0, 0.0]])
    >>> loss = lambda logprobs: losses.gspo_token(logprobs, old, advantages, *row)[0].sum()
    >>> print(jax.grad(loss)(new))  # each token has its own advantage; gspo shares one ratio
    [[-0.7114 -0.7114 -0.    ]]

  Source: Zheng et al. 2025, arXiv 2507.18071, equations 13 and 14.
  Differs from the source: log s is clamped to ±20.
  Fidelity: faithful
  """
  advantages = ratios.constant(advantages)
  mean, log_ratio = _log_ratios(sg(logprobs), old_logprobs, action_mask, segment_ids, sample_ids)
  ratio = jnp.exp(mean + ratios.difference(logprobs, logprobs))
  charged, below, above = ratios.charge(ratio, advantages, 1 - clip_low, 1 + clip_high)
  return -advantages * charged, ratios.diagnostics(ratio, log_ratio, below, above)
