"""DPO with a likelihood term on the chosen sample."""

from __future__ import annotations

import jax

from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array

TRAITS = ('shift_invariant', 'scale_invariant', 'group_relative')


@declare(denominator='groups', couples='group', traits=TRAITS)
def rpo(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  eta: float = 0.005,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(βΔ) − ηβ·Σℓ_w, Δ = h_w − h_l, h = Σℓ − Σℓ^ref.

  The likelihood term is the regulariser of the pessimistic reward; it is summed over tokens.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    eta: η, weight of the likelihood in units of β.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.rpo(now, ref, rewards, groups)[0])  # DPO's 0.5981 − 0.005·0.1·(−2)
    [0.5991 0.    ]

  Source: Liu et al. 2024, arXiv 2405.16436, with the chosen samples as the base policy's.
  Differs from the source: formula and defaults not confirmed against the paper.
  Fidelity: recalled
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  likelihood, _ = pairing.of_pair(sequence_logprobs, pairs)
  loss = pairing.logistic(beta * (h_w - h_l)) - eta * beta * likelihood
  return pairing.on_pairs(loss, beta * h_w, beta * h_l, pairs)


@declare(denominator='groups', couples='group', traits=TRAITS)
def irpo(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  completion_length: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  nll_coef: float = 1.0,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(βΔ) − α·Σℓ_w/|y_w|, Δ = h_w − h_l, h = Σℓ − Σℓ^ref.

  The loss of iterative reasoning preference optimization: pairs of a right and a wrong sample of
  the policy of the iteration before, which is also the reference.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    completion_length: float [N], action tokens. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    nll_coef: α, weight of the likelihood per token.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.irpo(now, ref, jnp.array([2.0, 4.0]), rewards, groups)[0])  # 0.5981 + 2/2
    [1.5981 0.    ]

  Source: Pang et al. 2024, arXiv 2404.19733.
  Differs from the source: formula not confirmed against the paper. Public implementations average
    the likelihood over all chosen tokens of the batch; here every chosen sample counts the same.
  Fidelity: recalled
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  likelihood, _ = pairing.token_means(sequence_logprobs, completion_length, pairs)
  loss = pairing.logistic(beta * (h_w - h_l)) - nll_coef * likelihood
  return pairing.on_pairs(loss, beta * h_w, beta * h_l, pairs)
