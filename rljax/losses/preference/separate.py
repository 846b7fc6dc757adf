"""Pair losses with one term for each of the two samples: they say where each likelihood goes."""

from __future__ import annotations

import jax

from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array

TRAITS = ('shift_invariant', 'scale_invariant', 'group_relative')


@declare(denominator='groups', couples='group', traits=TRAITS)
def nca(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(βh_w) − ½·log σ(−βh_w) − ½·log σ(−βh_l), h = Σℓ − Σℓ^ref.

  Noise-contrastive alignment for pairs: keeps the chosen sample's likelihood from falling.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.nca(now, ref, rewards, groups)[0])
    [1.3388 0.    ]
    >>> print(jax.grad(lambda now: losses.nca(now, ref, rewards, groups)[0].sum())(now))
    [-0.0213  0.0238]

  Source: Chen et al. 2024, arXiv 2402.05369, the case of two samples with a label.
  Differs from the source: nothing.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  chosen, rejected = beta * h_w, beta * h_l
  noise = jax.nn.log_sigmoid(-chosen) + jax.nn.log_sigmoid(-rejected)
  return pairing.on_pairs(-jax.nn.log_sigmoid(chosen) - noise / 2, chosen, rejected, pairs)


@declare(denominator='groups', couples='group', traits=TRAITS)
def bco_pair(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  shift: float = 0.0,
) -> tuple[Array, dict[str, Array]]:
  """−log σ(βh_w − δ) − log σ(δ − βh_l), h = Σℓ − Σℓ^ref.

  The log-ratio as the logit of a classifier of good and bad samples.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    shift: δ, the threshold between good and bad, in units of the implicit reward β·h.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(losses.bco_pair(now, ref, rewards, groups)[0])
    [1.2888 0.    ]

  Source: Jung et al. 2024, arXiv 2404.04656.
  Differs from the source: there δ is a running mean of implicit rewards; here it is a number, 0 by
    default, as in public implementations for pairs.
  Fidelity: adapted
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  chosen, rejected = beta * h_w, beta * h_l
  loss = -jax.nn.log_sigmoid(chosen - shift) - jax.nn.log_sigmoid(shift - rejected)
  return pairing.on_pairs(loss, chosen, rejected, pairs)


@declare(denominator='groups', couples='group', traits=TRAITS)
def apo_zero(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
) -> tuple[Array, dict[str, Array]]:
  """1 − σ(βh_w) + σ(βh_l), h = Σℓ − Σℓ^ref.

  Chosen samples become more likely and rejected ones less: for chosen samples that are better than
  what the policy writes.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(jax.grad(lambda now: losses.apo_zero(now, ref, rewards, groups)[0].sum())(now))
    [-0.0249  0.0249]

  Source: D'Oosterlinck et al. 2024, arXiv 2408.06266, equation 7.
  Differs from the source: a constant 1, so that the loss is not negative.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  chosen, rejected = beta * h_w, beta * h_l
  loss = jax.nn.sigmoid(-chosen) + jax.nn.sigmoid(rejected)
  return pairing.on_pairs(loss, chosen, rejected, pairs)


@declare(denominator='groups', couples='group', traits=TRAITS)
def apo_down(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
) -> tuple[Array, dict[str, Array]]:
  """σ(βh_w) + 1 − σ(β(h_w − h_l)), h = Σℓ − Σℓ^ref.

  Both samples become less likely, the rejected one more so: for chosen samples that are worse than
  what the policy writes.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], a ranking inside each group; NaN takes a sample out. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.

  Returns:
    (loss [N], 0 but at chosen samples; diagnostics of [N], see `pairs.on_pairs`).

  Examples:
    >>> now, ref = jnp.array([-2.0, -4.0]), jnp.array([-3.0, -3.0])  # log-probs of whole samples
    >>> rewards, groups = jnp.array([1.0, 0.0]), jnp.array([0, 0])  # the first is chosen
    >>> print(jax.grad(lambda now: losses.apo_down(now, ref, rewards, groups)[0].sum())(ref))
    [0.    0.025]

  Source: D'Oosterlinck et al. 2024, arXiv 2408.06266, equation 8.
  Differs from the source: a constant 1, so that the loss is not negative.
  Fidelity: faithful
  """
  pairs = pairing.find_pairs(rewards, group_ids)
  h_w, h_l = pairing.log_ratios(sequence_logprobs, sequence_ref_logprobs, pairs)
  chosen, rejected = beta * h_w, beta * h_l
  loss = jax.nn.sigmoid(chosen) + jax.nn.sigmoid(rejected - chosen)
  return pairing.on_pairs(loss, chosen, rejected, pairs)
