"""Supervised and reinforcement fine-tuning in a single stage, weighted by entropy."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamped_exp
from rljax.losses.ratios import completion_sum
from rljax.masking import widen
from rljax.traits import declare

Array = jax.Array
sg = jax.lax.stop_gradient


@declare(couples='sequence')
def srft(
  logprobs: Array,
  entropy: Array,
  advantages: Array,
  rewards: Array,
  group_ids: Array,
  is_external: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  *,
  sft_weight: float = 0.5,
  positive_weight: float = 0.1,
  threshold: float = 0.5,
) -> tuple[Array, dict[str, Array]]:
  """external: −½·sg(e^{−H})·ℓ − A·π;  own: right −0.1·sg(e^{H})·ℓ, wrong +ℓ.

  H is the mean entropy of the policy over the action tokens of the sample. Demonstrations count
  less where the policy is unsure, own right completions more. Whoever wrote a demonstration is
  taken to have chosen each token with probability 1, so its ratio is π = exp(ℓ); it is not clipped.

  Args:
    logprobs: float [..., T], nats, ℓ; differentiated.
    entropy: float [..., T], nats, of the present policy. Constant.
    advantages: float [..., T], of the union of own and external samples. Constant.
    rewards: float [N]; NaN = unscorable: an own sample without one gets 0. Constant.
    group_ids: int32 [N]; −1 = unused.
    is_external: bool [N], a demonstration.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    sft_weight: factor of e^{−H}.
    positive_weight: factor of e^{H}.
    threshold: an own completion is right where its reward is above.

  Returns:
    (loss [..., T], diagnostics: `external` 1 on external tokens, `token_weight` the factor of ℓ
    or of −ℓ that entropy gave, 1 where wrong).

  Examples:
    >>> logprobs, entropy = jnp.log(jnp.full((3, 1), 0.5)), jnp.ones((3, 1))
    >>> rewards, groups = jnp.array([1.0, 0.0, 1.0]), jnp.array([0, 0, 0])
    >>> external, mask = jnp.array([False, False, True]), jnp.ones((3, 1), bool)
    >>> where = external, mask, jnp.zeros((3, 1), int), jnp.arange(3).reshape(3, 1)
    >>> loss, seen = losses.srft(logprobs, entropy, jnp.zeros((3, 1)), rewards, groups, *where)
    >>> print(seen['token_weight'].ravel())  # 0.1·e^H right, 1 wrong, 0.5·e^−H a demonstration
    [0.2718 1.     0.1839]

  Source: Fu et al. 2025, arXiv 2506.19767, equations 8 to 13.
  Differs from the source: the weights of the loss average demonstrations and own completions
    together, where the paper adds their means; it does not say over what H is a mean; log-probs are
    clamped to −20 in π.
  Fidelity: adapted
  """
  scored = jnp.isfinite(rewards) & (group_ids >= 0)
  right = scored & (widen(rewards) > threshold)
  external, scored, right = (
    masking.sample_to_token(x, sample_ids, segment_ids) for x in (is_external, scored, right)
  )
  where = (action_mask, segment_ids, sample_ids)
  length = jnp.maximum(completion_sum(action_mask, *where), 1)
  mean_entropy = sg(completion_sum(entropy, *where)) / length

  logprobs = widen(logprobs)
  guided = -sg(widen(advantages)) * clamped_exp(logprobs)
  sft = sft_weight * jnp.exp(-mean_entropy)
  good = positive_weight * jnp.exp(mean_entropy)
  weight = jnp.where(external, sft, jnp.where(right, good, jnp.where(scored, 1, 0)))
  sign = jnp.where(external | right, -1, 1)
  loss = sign * weight * logprobs + jnp.where(external, guided, 0)
  return loss, {'external': external.astype(loss.dtype), 'token_weight': weight}
