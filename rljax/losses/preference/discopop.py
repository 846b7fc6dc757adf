"""The loss that a language model discovered: logistic and exponential, blended by the margin."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.log_ratios import LIMIT
from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array


@declare(
  denominator='groups',
  couples='group',
  traits=('shift_invariant', 'scale_invariant', 'group_relative'),
)
def discopop(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  tau: float = 0.05,
) -> tuple[Array, dict[str, Array]]:
  """−(1−m)·log σ(z) + m·e^{−z}, z = βΔ = β(h_w − h_l), m = σ(z/τ).

  It is not convex: with the default τ it rises with z near 0, where training starts.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    tau: width of the blend, in units of z.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.discopop(now, ref, rewards, groups)[0])
    [0.8148 0.    ]

  Source: Lu et al. 2024, arXiv 2406.08414, equation 5.
  Differs from the source: m·e^{−z} is taken as one exponential, whose exponent is at most 20, so
    that large negative z (where it is 0) do not overflow.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  z = beta * (h_w - h_l)
  exponent = jax.nn.log_sigmoid(z / tau) - z
  exponential = jnp.exp(jnp.where(exponent > LIMIT, LIMIT, exponent))
  loss = exponential - jax.nn.sigmoid(-z / tau) * jax.nn.log_sigmoid(z)
  return pairing.on_pairs(loss, beta * h_w, beta * h_l, pairs)
