"""Pair losses that regress log-ratios on fixed targets."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array

TRAITS = ('shift_invariant', 'scale_invariant', 'group_relative')


@declare(denominator='groups', couples='group', traits=TRAITS)
def ipo(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  completion_length: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  average: bool = True,
) -> tuple[Array, dict[str, Array]]:
  """(Δ̄ − 1/(2β))², Δ̄ = h_w/|y_w| − h_l/|y_l|, h = Σℓ − Σℓ^ref.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    completion_length: float [N], action tokens. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: the paper's τ, 1/nats; the wanted difference is 1/(2β).
    average: per token; False = the difference of the sums, as the paper's formula reads.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`; implicit rewards
    are β·h, over the length where `average`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> length = jnp.array([1.0, 1.0])
    >>> print(losses.ipo(now, ref, length, rewards, groups)[0])  # (2 − 5)²
    [9. 0.]
    >>> print(losses.ipo(now, ref, length, rewards, groups, beta=0.25)[0])  # what was wanted
    [0. 0.]

  Source: Azar et al. 2023, arXiv 2310.12036, equation 17.
  Differs from the source: the average per token is not in the paper's text; public
    implementations report that its authors used it.
  Fidelity: adapted
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  if average:
    lengths = pairing.of_pair(jax.lax.stop_gradient(completion_length), pairs)
    h_w, h_l = (h / jnp.maximum(length, 1) for h, length in zip((h_w, h_l), lengths))
  loss = jnp.square(h_w - h_l - 1 / (2 * beta))
  return pairing.on_pairs(loss, beta * h_w, beta * h_l, pairs)


@declare(denominator='groups', couples='group', traits=TRAITS)
def sppo_hard(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
) -> tuple[Array, dict[str, Array]]:
  """(h_w − 1/(2β))² + (h_l + 1/(2β))², h = Σℓ − Σℓ^ref.

  Self-play preference optimization with win rates of 1 and 0; the reference is the policy of the
  iteration before.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: 1/η of the paper (η about 1e3 there), 1/nats.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.sppo_hard(now, ref, rewards, groups, beta=0.5)[0])  # h = ±1 are what is wanted
    [0. 0.]

  Source: Wu et al. 2024, arXiv 2405.00675, equation 4.7.
  Differs from the source: win rates are 1 and 0, where the paper estimates them; the default of β
    is that of public implementations.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  loss = jnp.square(h_w - 1 / (2 * beta)) + jnp.square(h_l + 1 / (2 * beta))
  return pairing.on_pairs(loss, beta * h_w, beta * h_l, pairs)
