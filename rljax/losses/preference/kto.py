"""Unpaired feedback: each sample is good or bad by the sign of its reward."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import masking
from rljax.losses.preference import pairs as pairing
from rljax.traits import declare

Array = jax.Array


def _values(
  sequence_logprobs: Array, sequence_ref_logprobs: Array, rewards: Array, used: Array
) -> tuple[Array, Array, Array, Array]:
  """(h where a sample has feedback, its sign, good, bad), all [N]."""
  rewards = jax.lax.stop_gradient(masking.widen(rewards))
  judged = used & jnp.isfinite(rewards)
  good, bad = judged & (rewards > 0), judged & (rewards < 0)
  now = masking.zero_where_not(sequence_logprobs, good | bad)
  ref = masking.zero_where_not(sequence_ref_logprobs, good | bad)
  h = now - jax.lax.stop_gradient(ref)
  return h, jnp.where(good, 1, jnp.where(bad, -1, 0)).astype(h.dtype), good, bad


def _diagnostics(h: Array, rewards: Array, used: Array, group_ids: Array) -> dict[str, Array]:
  """Those of a pair loss, so that both kinds are told in one way: of pairs and not of samples.

  Of the groups that stand together in the arrays: one that is split has the pairs of its parts.
  """
  pairs = pairing.find_pairs(jnp.where(used, rewards, jnp.nan), group_ids)
  return pairing.on_pairs(h, *pairing.of_pair(h, pairs), pairs)[1]


@declare(denominator='samples', couples='batch', traits=('scale_invariant',))
def kto(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  is_mismatched: Array,
  *,
  beta: float = 0.1,
  desirable_weight: float = 1.0,
  undesirable_weight: float = 1.0,
) -> tuple[Array, dict[str, Array]]:
  """λ_D·(1 − σ(β(h − KL))) where R > 0, λ_U·(1 − σ(β(KL − h))) where R < 0, h = Σℓ − Σℓ^ref.

  KL = max(0, mean of h over mismatched samples), a constant: completions set after other prompts of
  the batch, which carry no loss themselves. Its batch is what the function sees, so all samples of
  an optimizer step belong into one micro-batch; without mismatched samples KL = 0. A reward of 0 is
  no feedback, so that of a mismatched sample is best 0 (NaN would mark it as unused).

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], > 0 desirable, < 0 undesirable, 0 or NaN neither. Constant.
    group_ids: int32 [N]; −1 = unused.
    is_mismatched: bool [N], the completion of another prompt: counts for KL only.
    beta: strength of the tie to the reference, 1/nats.
    desirable_weight: λ_D.
    undesirable_weight: λ_U.

  Returns:
    (loss [N], diagnostics of [N] as of a pair loss, at the best sample of each group that has a
    better and a worse one: `chosen` and `rejected` βh of the two, `margin` their difference,
    `accuracy` 1 where it is positive, `pairs` 1; and `kl_ref`, KL in nats at each sample with a
    loss).

  Examples:
    >>> now, ref, groups = jnp.array([-2.0, -2.0, -2.5]), jnp.full(3, -3.0), jnp.array([0, 1, 2])
    >>> other = jnp.array([False, False, True])  # the third measures the KL
    >>> loss, seen = losses.kto(now, ref, jnp.array([1.0, -1.0, 0.0]), groups, other)
    >>> print(loss, seen['kl_ref'])
    [0.4875 0.5125 0.    ] [0.5 0.5 0. ]

  Source: Ethayarajh et al. 2024, arXiv 2402.01306.
  Differs from the source: nothing; KL is of the samples at hand.
  Fidelity: faithful
  """
  used = (group_ids >= 0) & ~is_mismatched
  h, sign, good, bad = _values(sequence_logprobs, sequence_ref_logprobs, rewards, used)
  other = (group_ids >= 0) & is_mismatched
  drift = masking.zero_where_not(sequence_logprobs, other)
  drift = drift - masking.zero_where_not(sequence_ref_logprobs, other)
  kl = jnp.maximum(jax.lax.stop_gradient(masking.masked_mean(drift, other)), 0)
  margin = sign * beta * (h - kl)
  weight = jnp.where(good, desirable_weight, undesirable_weight)
  loss = masking.zero_where_not(weight * jax.nn.sigmoid(-margin), good | bad)
  diagnostics = _diagnostics(beta * h, rewards, good | bad, group_ids)
  return loss, {**diagnostics, 'kl_ref': jnp.where(good | bad, kl, 0)}


@declare(denominator='samples', couples='sequence', traits=('scale_invariant',))
def apo_zero_unpaired(
  sequence_logprobs: Array,
  sequence_ref_logprobs: Array,
  rewards: Array,
  group_ids: Array,
  *,
  beta: float = 0.1,
  desirable_weight: float = 1.0,
  undesirable_weight: float = 1.0,
) -> tuple[Array, dict[str, Array]]:
  """λ_D·(1 − σ(βh)) where R > 0, λ_U·σ(βh) where R < 0, h = Σℓ − Σℓ^ref.

  KTO without the KL: no mismatched samples.

  Args:
    sequence_logprobs: float [N], nats, Σℓ over action tokens; differentiated.
    sequence_ref_logprobs: float [N], nats. Constant.
    rewards: float [N], > 0 desirable, < 0 undesirable, 0 or NaN neither. Constant.
    group_ids: int32 [N]; −1 = unused.
    beta: strength of the tie to the reference, 1/nats.
    desirable_weight: λ_D.
    undesirable_weight: λ_U.

  Returns:
    (loss [N], diagnostics of [N] as of a pair loss, at the best sample of each group that has a
    better and a worse one: `chosen` and `rejected` βh of the two, `margin` their difference,
    `accuracy` 1 where it is positive, `pairs` 1).

  Examples:
    >>> now, ref, groups = jnp.array([-2.0, -2.0, -3.0]), jnp.full(3, -3.0), jnp.array([0, 1, 2])
    >>> print(losses.apo_zero_unpaired(now, ref, jnp.array([1.0, -1.0, 0.0]), groups)[0])
    [0.475 0.525 0.   ]

  Source: D'Oosterlinck et al. 2024, arXiv 2408.06266, equation 7, one sample at a time.
  Differs from the source: the paper's loss is of pairs; weights as in KTO.
  Fidelity: adapted
  """
  used = group_ids >= 0
  h, sign, good, bad = _values(sequence_logprobs, sequence_ref_logprobs, rewards, used)
  margin = sign * beta * h
  weight = jnp.where(good, desirable_weight, undesirable_weight)
  loss = masking.zero_where_not(weight * jax.nn.sigmoid(-margin), good | bad)
  return loss, _diagnostics(beta * h, rewards, good | bad, group_ids)
