"""Pair losses without a reference: SimPO, AlphaPO, CPO."""

from __future__ import annotations

import jax

from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array

TRAITS = ('shift_invariant', 'scale_invariant', 'group_relative')


@declare(denominator='groups', couples='group', traits=TRAITS)
def simpo(
  sequence_logprobs: Array,
  completion_length: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 2.5,
  margin: float = 1.375,
  label_smoothing: float = 0.0,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(β(ℓ̄_w − ℓ̄_l) − γ), ℓ̄ = Σℓ/|y|.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    completion_length: float [N], action tokens. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: scale of the mean log-prob, tokens/nat.
    margin: γ, the wanted difference of β·ℓ̄; the paper tunes γ/β.
    label_smoothing: ε, fraction; the loss is then −(1−ε)·log σ(z) − ε·log σ(−z).

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`; implicit rewards
    are β·ℓ̄).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> # Both −1 per token: no margin
    >>> print(losses.simpo(now, jnp.array([2.0, 4.0]), rewards, groups)[0])
    [1.6004 0.    ]

  Source: Meng et al. 2024, arXiv 2405.14734.
  Differs from the source: label smoothing is that of public implementations.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  mean_w, mean_l = pairing.token_means(sequence_logprobs, completion_length, pairs)
  chosen, rejected = beta * mean_w, beta * mean_l
  loss = pairing.logistic(chosen - rejected - margin, label_smoothing)
  return pairing.on_pairs(loss, chosen, rejected, pairs)


@declare(denominator='groups', couples='group', traits=TRAITS)
def alpha_po(
  sequence_logprobs: Array,
  completion_length: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 2.5,
  margin: float = 1.375,
  alpha: float = 0.25,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(β(r_w − r_l) − γ), r = (1 − p^{−α})/α, p = exp(Σℓ/|y|).

  α = 0 is SimPO; α > 0 pulls unlikely samples harder, α < 0 less.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    completion_length: float [N], action tokens. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: scale of r.
    margin: γ, the wanted difference of β·r.
    alpha: shape of r.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`; implicit rewards
    are β·r).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.alpha_po(now, jnp.array([2.0, 4.0]), rewards, groups, alpha=0.0)[0])  # SimPO
    [1.6004 0.    ]
    >>> print(losses.alpha_po(now, jnp.array([4.0, 4.0]), rewards, groups)[0])
    [0.6285 0.    ]

  Source: Gupta et al. 2025, arXiv 2501.03884.
  Differs from the source: the exponent −α·ℓ̄ is at most 20; the default of α is recalled.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  means = pairing.token_means(sequence_logprobs, completion_length, pairs)
  chosen, rejected = (beta * pairing.exponential_score(mean, -alpha) for mean in means)
  loss = pairing.logistic(chosen - rejected - margin)
  return pairing.on_pairs(loss, chosen, rejected, pairs)


@declare(denominator='groups', couples='group', traits=TRAITS)
def cpo(
  sequence_logprobs: Array,
  completion_length: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  nll_coef: float = 1.0,
  label_smoothing: float = 0.0,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(β(Σℓ_w − Σℓ_l)) − α·Σℓ_w/|y_w|.

  DPO with a uniform reference, and a likelihood term on the chosen sample.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    completion_length: float [N], action tokens. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: scale of the log-probs, 1/nats.
    nll_coef: α, weight of the likelihood per token.
    label_smoothing: ε, fraction.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`; implicit rewards
    are β·Σℓ).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.cpo(now, jnp.array([2.0, 4.0]), rewards, groups)[0])
    [1.5981 0.    ]

  Source: Xu et al. 2024, arXiv 2401.08417, equation 3 and the likelihood term beside it.
  Differs from the source: the likelihood is per token of each sample (the paper's formula sums it,
    public implementations average it over all chosen tokens of the batch).
  Fidelity: adapted
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  sum_w, sum_l = pairing.of_pair(sequence_logprobs, pairs)
  mean_w, _ = pairing.token_means(sequence_logprobs, completion_length, pairs)
  chosen, rejected = beta * sum_w, beta * sum_l
  loss = pairing.logistic(chosen - rejected, label_smoothing) - nll_coef * mean_w
  return pairing.on_pairs(loss, chosen, rejected, pairs)
