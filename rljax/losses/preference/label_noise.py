"""Pair losses that take the labels for noisy."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array

TRAITS = ('shift_invariant', 'scale_invariant', 'group_relative')


@declare(denominator='groups', couples='group', traits=TRAITS)
def robust_dpo(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  label_smoothing: float = 0.1,
) -> tuple[Array, dict[str, Array]]:
  """[−(1−ε)·log σ(βΔ) + ε·log σ(−βΔ)]/(1−2ε), Δ = h_w − h_l, h = Σℓ − Σℓ^ref.

  Unbiased for the DPO loss of the true labels where a label is flipped with probability ε. It is
  not bounded from below. ε = 0 is DPO.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    label_smoothing: ε in [0, ½), fraction.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.robust_dpo(now, ref, rewards, groups)[0])
    [0.5731 0.    ]
    >>> print(losses.robust_dpo(now, ref, rewards, groups, label_smoothing=0.0)[0])  # DPO
    [0.5981 0.    ]

  Source: Chowdhury et al. 2024, arXiv 2403.00409.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  z = beta * (h_w - h_l)
  kept = -(1 - label_smoothing) * jax.nn.log_sigmoid(z)
  flipped = -label_smoothing * jax.nn.log_sigmoid(-z)
  loss = (kept - flipped) / (1 - 2 * label_smoothing)
  return pairing.on_pairs(loss, beta * h_w, beta * h_l, pairs)


@declare(denominator='groups', couples='group', traits=TRAITS)
def exo(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  label_smoothing: float = 1e-3,
) -> tuple[Array, dict[str, Array]]:
  """σ(z)·(log σ(z) − log(1−ε)) + σ(−z)·(log σ(−z) − log ε), z = βΔ = β(h_w − h_l).

  The reverse KL from the policy's choice between the two samples to the labels (1−ε, ε); DPO with
  smoothing is the forward one.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    label_smoothing: ε in (0, 1), fraction; at 0 the loss is infinite.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.exo(now, ref, rewards, groups)[0])
    [2.422 0.   ]

  Source: Ji et al. 2024, arXiv 2402.00856, equation 16.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  z = beta * (h_w - h_l)
  right = jax.nn.sigmoid(z) * (jax.nn.log_sigmoid(z) - jnp.log1p(-label_smoothing))
  wrong = jax.nn.sigmoid(-z) * (jax.nn.log_sigmoid(-z) - jnp.log(label_smoothing))
  return pairing.on_pairs(right + wrong, beta * h_w, beta * h_l, pairs)
