"""SSPO: ratios of the steps of a completion, between those of tokens and that of the whole."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamp
from rljax.losses import ratios
from rljax.traits import declare

Array = jax.Array


@declare(couples='sequence', traits=('on_policy_is_reinforce',))
def sspo(
  logprobs: Array,
  old_logprobs: Array,
  advantages: Array,
  old_entropy: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  step_ids: Array,
  *,
  clip_low: float = 0.1,
  clip_high: float = 0.1,
  max_width: float = 2.0,
) -> tuple[Array, dict[str, Array]]:
  """max(−A·s, −A·clip(s, 1 − w·clip_low, 1 + w·clip_high)), s = exp(mean_{t in k}(ℓ_t − ℓ°_t)).

  k is the step (sentence) of the token, and s is shared by its tokens. w = H_k/H̄ within
  [1/max_width, max_width], H_k the mean entropy of the step and H̄ that of the completion: uncertain
  steps may move further. One step for a completion: `gspo`; one for each token: PPO, both with
  bounds that follow the entropy.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    advantages: float [..., T], one number for the tokens of a sample. Constant.
    old_entropy: float [..., T], nats, before the update. Constant.
    action_mask: bool [..., T]; the tokens of the means.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    step_ids: int32 [..., T], the number of the step in its sample; read at action tokens only.
    clip_low: width of the band below 1, fraction.
    clip_high: width of the band above 1, fraction.
    max_width: at most so much wider or narrower, at least 1; 1 = the band is fixed.

  Returns:
    (loss [..., T], diagnostics of [..., T] as those of `gspo`).

  Examples:
    >>> new, old = jnp.log(jnp.array([[0.9, 0.5, 0.1]])), jnp.log(jnp.full((1, 3), 0.5))
    >>> row = jnp.ones((1, 3), bool), jnp.zeros((1, 3), int), jnp.zeros((1, 1), int)  # one sample
    >>> entropy, steps = jnp.array([[0.5, 0.5, 2.0]]), jnp.array([[0, 0, 1]])
    >>> loss, seen = losses.sspo(new, old, -jnp.ones((1, 3)), entropy, *row, steps)
    >>> print(seen['ratio_max'])  # √(1.8·1) for the first step, 0.2 for the second
    [[1.3416 1.3416 0.2   ]]
    >>> print(loss)  # the second step is uncertain: its bound is 0.8 and not 0.9
    [[1.3416 1.3416 0.8   ]]

  Source: SSPO: Subsentence-level Policy Optimization (2025).
  Differs from the source: formula not confirmed against the paper; the widths, and how the band
    follows the entropy, are guesses; where steps begin and end is for `step_ids` to say; log s is
    clamped to ±20.
  Fidelity: recalled
  """
  advantages = ratios.constant(advantages)
  log_ratio = ratios.difference(logprobs, old_logprobs)
  entropy = masking.zero_where_not(ratios.constant(old_entropy), action_mask)
  step = _runs(step_ids, action_mask, segment_ids)
  count = jnp.maximum(_run_sum(masking.widen(action_mask), step), 1)
  ratio = jnp.exp(clamp(_run_sum(masking.zero_where_not(log_ratio, action_mask), step) / count))

  mean = ratios.sequence_mean(entropy, action_mask, segment_ids, sample_ids)
  mean = ratios.spread(mean, segment_ids)
  width = jnp.where(mean > 0, _run_sum(entropy, step) / count / jnp.where(mean > 0, mean, 1), 1)
  width = jnp.clip(width, 1 / max_width, max_width)
  bounds = (1 - clip_low * width, 1 + clip_high * width)
  charged, below, above = ratios.charge(ratio, advantages, *bounds)
  return -advantages * charged, ratios.diagnostics(ratio, clamp(log_ratio), below, above)


def _forward_scan(decay: Array, x: Array, segment_ids: Array) -> Array:
  """y_t = x_t + decay_t·y_{t−1} inside each segment."""
  mirrored = (jnp.flip(y, axis=-1) for y in (decay, x, segment_ids))
  return jnp.flip(masking.reverse_segment_scan(*mirrored), axis=-1)


def _runs(step_ids: Array, action_mask: Array, segment_ids: Array) -> Array:
  """int [..., T], rising along a row: what is masked belongs to the step of the token before it."""
  known = jnp.where(action_mask, step_ids, 0)
  latest = _forward_scan(~action_mask, known, segment_ids)
  new = masking.starts(latest) | masking.starts(segment_ids)
  return jnp.cumsum(new, axis=-1)


def _run_sum(x: Array, run: Array) -> Array:
  """[..., T]: Σ x over the run of each token; scans, whose gradient has no scatter."""
  one = jnp.ones_like(x)
  return masking.reverse_segment_scan(one, x, run) + _forward_scan(one, x, run) - x
