"""DPO that does not let the chosen sample fall below the reference."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array


@declare(
  denominator='groups',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def dpop(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.3,
  penalty: float = 50.0,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(β(Δ − λ·max(0, −h_w))), Δ = h_w − h_l, h = Σℓ − Σℓ^ref.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    penalty: λ, price of a nat by which the chosen sample fell below the reference; 0 = DPO.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`, and `fallen`, 1
    where the penalty is paid).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> loss, seen = losses.dpop(ref + jnp.array([-1.0, -2.0]), ref, rewards, groups)
    >>> print(loss, seen['fallen'])  # both fell: 50 nats are charged for the chosen one
    [14.7  0. ] [1. 0.]

  Source: Pal et al. 2024, arXiv 2402.13228 (DPO-Positive).
  Differs from the source: formula and defaults not confirmed against the paper; at h_w = 0, where
    training starts, the penalty has no gradient.
  Fidelity: recalled
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  fallen = h_w < 0
  z = beta * (h_w - h_l - penalty * jnp.where(fallen, -h_w, 0))
  loss, diagnostics = pairing.on_pairs(pairing.logistic(z), beta * h_w, beta * h_l, pairs)
  return loss, {**diagnostics, 'fallen': fallen.astype(loss.dtype)}
