"""Negative-aware fine-tuning: likelihood of right completions and of an implied negative policy."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamped_exp
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient

PROMPT_WEIGHTS = ('dr_grpo', 'grpo', 'none')


@declare(couples='group')
def nft(
  logprobs: Array,
  old_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  threshold: float = 0.5,
  negative_weight: float = 1.0,
  floor: float = 1.0,
  prompt_weight: str = 'dr_grpo',
) -> tuple[Array, dict[str, Array]]:
  """right: −ω·log r;  wrong: −ω·log max(n, floor), n = (1 − q·r)/(1 − q), r = exp(ℓ − ℓ°).

  q is the share of right completions in the group. π° is the mixture of the policy that is right
  and of the one that is wrong, so the second is n·π° where the first is r·π°: wrong completions
  train the same policy by likelihood. The floor acts on the value and on the slope's denominator,
  never on whether there is a gradient. On-policy the gradient is −A·∇ℓ with A = R − q for
  prompt_weight 'dr_grpo' and A = (R − q)/√(q(1 − q)) for 'grpo'. negative_weight 0 is
  rejection-sampling fine-tuning. Groups that are all right or all wrong get 0.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    old_logprobs: float [..., T], nats, ℓ°. Constant.
    rewards: float [N]; NaN = unscorable. Constant.
    group_ids: int32 [N]; −1 = unused.
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    threshold: a completion is right where its reward is above.
    negative_weight: factor of wrong completions.
    floor: of n, above 0.
    prompt_weight: ω: 'dr_grpo' = 1 − q, 'grpo' = √((1 − q)/q), 'none' = 1.

  Returns:
    (loss [..., T], diagnostics: `ratio_max` r, `floored` 1 where n was below the floor).

  Raises:
    ValueError: an unknown prompt_weight.

  Examples:
    >>> logprobs = jnp.log(jnp.full((2, 1), 0.5))
    >>> rewards, groups, places = jnp.array([1.0, 0.0]), jnp.array([0, 0]), jnp.array([[0], [1]])
    >>> args = logprobs, rewards, groups, jnp.zeros((2, 1), int), places
    >>> loss = lambda logprobs: losses.nft(logprobs, *args)[0].sum()
    >>> print(jax.grad(loss)(logprobs).ravel())  # the right one is raised, the wrong one lowered
    [-0.5  0.5]

  Source: Chen et al. 2025, arXiv 2505.18116, and the authors' code with its settings.
  Differs from the source: log-ratios are clamped to ±20; q is not clamped to [0.02, 0.98].
  Fidelity: faithful
  """
  if prompt_weight not in PROMPT_WEIGHTS:
    raise ValueError(f'prompt_weight {prompt_weight!r} is not one of {", ".join(PROMPT_WEIGHTS)}')
  log_ratio = widen(logprobs) - sg(widen(old_logprobs))
  scored = jnp.isfinite(rewards) & (group_ids >= 0)
  right = scored & (widen(rewards) > threshold)
  rate = masking.group_mean(right.astype(log_ratio.dtype), group_ids, scored)
  mixed = scored & (rate > 0) & (rate < 1)
  rate = jnp.where(mixed, rate, 0.5)
  omega = {'none': jnp.ones_like(rate), 'dr_grpo': 1 - rate, 'grpo': jnp.sqrt((1 - rate) / rate)}
  weight = jnp.where(mixed, omega[prompt_weight], 0)
  right, rate, weight = (
    masking.sample_to_token(x, sample_ids, segment_ids) for x in (right, rate, weight)
  )

  ratio = clamped_exp(log_ratio)
  negative = (1 - rate * ratio) / (1 - rate)
  floored = sg(jnp.maximum(negative, floor))
  wrong_loss = -jnp.log(floored) - (negative - sg(negative)) / floored
  loss = weight * jnp.where(right, -log_ratio, negative_weight * wrong_loss)
  below = (weight > 0) & ~right & (negative < floor)
  return loss, sg({'ratio_max': ratio, 'floored': below.astype(ratio.dtype)})
