"""DPO against the bias for long completions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.losses.preference import pairs as pairing
from rljax.losses.preference.dpo import dpo
from rljax.traits import declare

Array = jax.Array

TRAITS = ('shift_invariant', 'scale_invariant', 'group_relative')


@declare(denominator='groups', couples='group', traits=TRAITS)
def r_dpo(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  completion_length: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  alpha: float = 0.01,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(βΔ + α(|y_w| − |y_l|)), Δ = h_w − h_l, h = Σℓ − Σℓ^ref.

  DPO for a reward less α per token: a chosen sample that is longer has part of its margin already.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    completion_length: float [N], action tokens. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    alpha: price of a token, 1/tokens.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> length = jnp.array([30.0, 10.0])
    >>> # Longer by 20: 0.2 of the margin is free
    >>> print(losses.r_dpo(now, ref, length, rewards, groups)[0])
    [0.513 0.   ]

  Source: Park et al. 2024, arXiv 2403.19159.
  Differs from the source: formula not confirmed against the paper; the sign is that of the optimum
    under the price (reward = β·log-ratio + α·length + constant). The default of α is recalled.
  Fidelity: recalled
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  length_w, length_l = pairing.of_pair(jax.lax.stop_gradient(completion_length), pairs)
  z = beta * (h_w - h_l) + alpha * (length_w - length_l)
  return pairing.on_pairs(pairing.logistic(z), beta * h_w, beta * h_l, pairs)


def length_desensitized(
  logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  rewards: Array,
  group_ids: Array,
  *,
  alpha: float = 0.5,
) -> Array:
  """Σ_{t ≤ m} ℓ_t + α·Σ_{t > m} ℓ_t, m = min(|y_w|, |y_l|): log-probs of sequences, [N].

  t counts the action tokens of the sample. Only the two samples of a pair count for m; other
  samples get their plain sum.

  Args:
    logprobs: float [..., T], nats; differentiated.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    sample_slots: int32 [N], flat index into [..., S].
    rewards: float [N], a ranking inside each group. Constant.
    group_ids: int32 [N]; −1 = unused.
    alpha: weight of the tokens beyond the shorter completion, in [0, 1]; 1 = the plain sum.

  Returns:
    at least float32 [N], nats; 0 for unused places.

  Examples:
    >>> logprobs, groups = jnp.full((2, 3), -1.0), jnp.array([0, 0])
    >>> mask, places = jnp.array([[True, True, True], [True, False, False]]), jnp.array([[0], [1]])
    >>> rows = mask, jnp.zeros((2, 3), int), places, jnp.array([0, 1])
    >>> where = *rows, jnp.array([1.0, 0.0]), groups
    >>> # Beyond the shorter one a token counts half
    >>> print(losses.length_desensitized(logprobs, *where))
    [-2. -1.]

  Source: Liu et al. 2024, arXiv 2409.06411.
  Differs from the source: nothing; the default of α is recalled.
  Fidelity: faithful
  """
  mask = action_mask & (segment_ids >= 0)
  places = sample_ids.shape[-1]
  length = masking.token_to_sample_sum(mask, mask, segment_ids, sample_slots, places)
  pairs = pairing.find_pairs(rewards, group_ids)
  paired = pairs.chosen | pairs.rejected
  shared = jnp.where(paired, masking.group_min(length, group_ids, paired), length)
  # The number of action tokens of the sample before this one.
  left = masking.reverse_segment_scan(jnp.ones_like(mask, shared.dtype), mask, segment_ids)
  before = masking.sample_to_token(length, sample_ids, segment_ids) - left
  inside = before < masking.sample_to_token(shared, sample_ids, segment_ids)
  weighted = masking.zero_where_not(logprobs, mask) * jnp.where(inside, 1, alpha)
  return masking.token_to_sample_sum(weighted, mask, segment_ids, sample_slots, places)


@declare(denominator='groups', couples='group', traits=TRAITS)
def ld_dpo(
  logprobs: Array,
  ref_logprobs: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  alpha: float = 0.5,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(βΔ) with Σ_t ℓ_t → Σ_{t ≤ m} ℓ_t + α·Σ_{t > m} ℓ_t, m = min(|y_w|, |y_l|).

  DPO on length-desensitised log-probs (`length_desensitized`), of the policy and of the reference;
  log-ratios are taken per token, so that long sums lose nothing to rounding.

  Args:
    logprobs: float [..., T], nats; differentiated.
    ref_logprobs: float [..., T], nats. Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    sample_slots: int32 [N], flat index into [..., S].
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    alpha: weight of the tokens beyond the shorter completion, in [0, 1]; 1 = DPO.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> logprobs, groups = jnp.full((2, 3), -1.0), jnp.array([0, 0])
    >>> mask, places = jnp.array([[True, True, True], [True, False, False]]), jnp.array([[0], [1]])
    >>> rows = mask, jnp.zeros((2, 3), int), places, jnp.array([0, 1])
    >>> where = *rows, jnp.array([1.0, 0.0]), groups
    >>> print(losses.ld_dpo(logprobs, jnp.full((2, 3), -2.0), *where)[0])  # h = 1 + ½ + ½ against 1
    [0.6444 0.    ]

  Source: Liu et al. 2024, arXiv 2409.06411.
  Differs from the source: nothing; the default of α is recalled.
  Fidelity: faithful
  """
  maps = (action_mask, segment_ids, sample_ids, sample_slots, rewards, group_ids)
  log_ratio = masking.widen(logprobs) - jax.lax.stop_gradient(masking.widen(ref_logprobs))
  h = length_desensitized(log_ratio, *maps, alpha=alpha)
  return dpo(h, jnp.zeros_like(h), rewards, group_ids, beta=beta)
