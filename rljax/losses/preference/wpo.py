"""Weights of pairs by how likely the present policy is to write them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.log_ratios import clamp
from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array


def wpo_weights(
  logprobs: Array,
  sum_squares: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
) -> Array:
  """w = exp(mean_t(ℓ_t − log Σ_v π²)), the mean over the action tokens of a sample.

  The likelihood of a sample over what the policy's own samples have on average: about 1 for what
  it would write itself, less for other texts.

  Args:
    logprobs: float [..., T], nats, ℓ of the present policy. Constant.
    sum_squares: float [..., T], Σ_v π². Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S]; gives the number of places of a row.
    sample_slots: int32 [N], flat index into [..., S].

  Returns:
    at least float32 [N], constant; 0 for unused places, 1 for samples without action tokens.

  Examples:
    >>> logprobs, squares = jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.1]])), jnp.full((2, 2), 0.5)
    >>> row = jnp.ones((2, 2), bool), jnp.zeros((2, 2), int)
    >>> where = *row, jnp.array([[0], [1]]), jnp.array([0, 1])
    >>> print(losses.wpo_weights(logprobs, squares, *where))  # its own kind of text, and another
    [1.  0.2]

  Source: Zhou et al. 2024, arXiv 2406.11827, equation 2 with the alignment by sampled outputs.
  Differs from the source: the exponent is clamped to ±20.
  Fidelity: faithful
  """
  logprobs, sum_squares = jax.lax.stop_gradient((logprobs, sum_squares))
  mask = action_mask & (segment_ids >= 0)
  square = jnp.where(mask, masking.widen(sum_squares), 1)
  aligned = masking.zero_where_not(logprobs, mask) - jnp.log(square)
  places = sample_ids.shape[-1]
  total = masking.token_to_sample_sum(aligned, mask, segment_ids, sample_slots, places)
  count = masking.token_to_sample_sum(mask, mask, segment_ids, sample_slots, places)
  mean = total / jnp.maximum(count, 1)
  mean = clamp(mean)
  return jnp.where(sample_slots >= 0, jnp.exp(mean), 0)


@declare(
  denominator='groups',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def wpo(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  logprobs: Array,
  sum_squares: Array,
  action_mask: Array,
  segment_ids: Array,
  sample_ids: Array,
  sample_slots: Array,
  rewards: Array,
  group_ids: Array,
  sequence_weights: Array | None = None,
  *,
  beta: float = 0.1,
  label_smoothing: float = 0.0,
  max_weight: float | None = None,
) -> tuple[Array, dict[str, Array]]:
  """−w_w·w_l·log σ(βΔ), Δ = h_w − h_l, h = Σℓ − Σℓ^ref, w = sg(exp(mean_t(ℓ_t − log Σ_v π²))).

  DPO, weighted by how likely the present policy is to write the pair (`wpo_weights`).

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    logprobs: float [..., T], nats, ℓ, for the weights. Constant.
    sum_squares: float [..., T], Σ_v π². Constant.
    action_mask: bool [..., T].
    segment_ids: int32 [..., T].
    sample_ids: int32 [..., S].
    sample_slots: int32 [N], flat index into [..., S].
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    sequence_weights: float [N], other weights w in the place of these. Constant.
    beta: strength of the tie to the reference, 1/nats.
    label_smoothing: ε, fraction.
    max_weight: bound of the pair's weight (1 in earlier public implementations); None = off.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`, and `weight`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> weights = jnp.array([1.0, 0.2])
    >>> zeros, row = jnp.zeros((2, 1)), (jnp.ones((2, 1), bool), jnp.zeros((2, 1), int))
    >>> where = zeros, zeros, *row, jnp.array([[0], [1]]), jnp.array([0, 1])
    >>> print(losses.wpo(now, ref, *where, rewards, groups, weights)[0])  # 0.2 of DPO's 0.5981
    [0.1196 0.    ]

  Source: Zhou et al. 2024, arXiv 2406.11827, equation 2.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  if sequence_weights is None:
    sequence_weights = wpo_weights(
      logprobs, sum_squares, action_mask, segment_ids, sample_ids, sample_slots
    )
  weight_w, weight_l = pairing.of_pair(jax.lax.stop_gradient(sequence_weights), pairs)
  weight = weight_w * weight_l
  if max_weight is not None:
    weight = jnp.minimum(weight, max_weight)
  loss = weight * pairing.logistic(beta * (h_w - h_l), label_smoothing)
  loss, diagnostics = pairing.on_pairs(loss, beta * h_w, beta * h_l, pairs)
  return loss, {**diagnostics, 'weight': weight}
