"""Alignment by optimal transport: DPO on differences of order statistics of the batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array

TRAITS = ('shift_invariant', 'scale_invariant', 'group_relative')


def same_rank(x: Array, y: Array, places: Array) -> Array:
  """[N]: the y whose rank among y at `places` is that of x among x; 0 at other places.

  Both are [N] at the same places. The order is a constant; y is differentiated through a masked
  sum, so that no gradient is scattered.
  """
  one = jnp.where(places, 0, -1)
  ranks = [
    jnp.where(places, masking.group_rank(jax.lax.stop_gradient(v), one), -1) for v in (x, y)
  ]
  found = masking.group_sum(
    jnp.concatenate([jnp.zeros_like(y), y]),
    jnp.concatenate(ranks),
    jnp.concatenate([jnp.zeros_like(places), places]),
  )
  return masking.zero_where_not(found[: x.shape[0]], places)


@declare(denominator='groups', couples='batch', traits=TRAITS)
def aot(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  label_smoothing: float = 0.0,
) -> tuple[Array, dict[str, Array]]:
  """−(1−ε)·log σ(z) − ε·log σ(−z), z = β(u_(k) − v_(k)), u = Σℓ_w − Σℓ_l, v = Σℓ^ref_w − Σℓ^ref_l.

  u_(k) and v_(k) are the k-th largest of the batch's pairs: the policy's margins shall dominate
  the reference's as distributions. One pair in the batch: DPO. The batch is what the function
  sees, so all pairs of an optimizer step belong into one micro-batch.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    label_smoothing: ε, fraction.

  Returns:
    (loss [N] at the chosen sample of u_(k), 0 elsewhere; diagnostics of [N] of the pair itself, see
    `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.aot(now, ref, rewards, groups)[0])  # one pair: DPO
    [0.5981 0.    ]

  Source: Melnyk et al. 2024, arXiv 2406.05882, paired form.
  Differs from the source: ties are broken by the order in the array; the order is constant.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  now_w, now_l = pairing.of_pair(sequence_logprobs, pairs)
  ref_w, ref_l = pairing.of_pair(jax.lax.stop_gradient(sequence_ref_logprobs), pairs)
  difference = now_w - now_l
  z = beta * (difference - same_rank(difference, ref_w - ref_l, pairs.chosen))
  loss = pairing.logistic(z, label_smoothing)
  return pairing.on_pairs(loss, beta * (now_w - ref_w), beta * (now_l - ref_l), pairs)


@declare(denominator='groups', couples='batch', traits=TRAITS)
def aot_unpaired(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  label_smoothing: float = 0.0,
) -> tuple[Array, dict[str, Array]]:
  """−(1−ε)·log σ(z) − ε·log σ(−z), z = β(h_w,(k) − h_l,(k)), h = Σℓ − Σℓ^ref.

  h_w,(k) and h_l,(k) are the k-th largest log-ratios of the batch's chosen and rejected samples:
  which of them were compared does not matter. One pair in the batch: DPO. The batch is what the
  function sees, so all pairs of an optimizer step belong into one micro-batch.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    label_smoothing: ε, fraction.

  Returns:
    (loss [N] at the chosen sample h_w,(k), 0 elsewhere; diagnostics of [N] of the pair itself, see
    `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.aot_unpaired(now, ref, rewards, groups)[0])  # one pair: DPO
    [0.5981 0.    ]

  Source: Melnyk et al. 2024, arXiv 2406.05882, unpaired form.
  Differs from the source: as many chosen as rejected samples; ties are broken by the order in the
    array; the order is constant.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  z = beta * (h_w - same_rank(h_w, h_l, pairs.chosen))
  return pairing.on_pairs(pairing.logistic(z, label_smoothing), beta * h_w, beta * h_l, pairs)
