"""The hinge on the log-ratio margin."""

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
def slic(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  margin: float = 1.0,
) -> tuple[Array, dict[str, Array]]:
  """max(0, m − βΔ), Δ = h_w − h_l, h = Σℓ − Σℓ^ref.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    margin: m, from which on a pair costs nothing.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.slic(now, ref, rewards, groups)[0])  # 1 − 0.1·2
    [0.8 0. ]
    >>> print(losses.slic(now, ref, rewards, groups, margin=0.1)[0])
    [0. 0.]

  Source: Zhao et al. 2023, arXiv 2305.10425; with the reference inside the margin: Liu et al. 2023,
    arXiv 2309.06657.
  Differs from the source: SLiC-HF's hinge is on log-probs without a reference, with a likelihood
    term beside it; a margin of exactly m has no gradient.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  gap = margin - beta * (h_w - h_l)
  return pairing.on_pairs(jnp.where(gap > 0, gap, 0), beta * h_w, beta * h_l, pairs)
